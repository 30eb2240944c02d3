package rules

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/rules/limit"
)

// TestO6_LimitsOfAPolicy: rules share a limit by its name or have one for themselves, and the
// numbers do not depend on the order of the file.
func TestO6_LimitsOfAPolicy(t *testing.T) {
	p, _ := compiled(t, head+`
[limits.web]
connections = 100
rate = "50/10s"
mask4 = 24
mask6 = 56
[limits.mail]
rate = "1/1m"
[[rules]]
id = "mine"
action = "pass"
limit = { connections = 3 }
[[rules]]
id = "web"
action = "pass"
limit = "web"
[[rules]]
id = "none"
action = "pass"
[[rules]]
id = "web-too"
action = "pass"
limit = "web"
[[rules]]
id = "mail"
action = "pass"
limit = "mail"
overload = "brutes"
flush = "all"
[tables.brutes]
`)
	want := limit.Plan{
		Limits: []limit.Limit{
			{Rate: limit.Rate{Count: 1, Per: 60e9}, Mask4: 32, Mask6: 64},
			{Connections: 100, Rate: limit.Rate{Count: 50, Per: 10e9}, Mask4: 24, Mask6: 56},
			{Connections: 3, Mask4: 32, Mask6: 64},
		},
		Rules: []limit.Rule{{Number: Number("mine"), Limit: 3}, {Number: Number("web"), Limit: 2}, {Number: Number("web-too"), Limit: 2}, {Number: Number("mail"), Limit: 1, Overload: limit.Overload{Table: "brutes", Flush: limit.FlushAll}}},
	}
	got := Limits(p)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if table, err := limit.New(&got, 100); err != nil || table == nil {
		t.Errorf("%v, %v", table, err)
	}
	p, _ = compiled(t, head)
	none := Limits(p)
	if table, err := limit.New(&none, 100); err != nil || table != nil {
		t.Errorf("without limits: %v, %v", table, err)
	}
}

// TestLimitsDocs: the examples of docs/limits.md are right, and the one against brute force
// says what its rules do.
func TestLimitsDocs(t *testing.T) {
	_, examples := examplesOf(t, "limits.md")
	if len(examples) != 2 {
		t.Fatalf("%d examples", len(examples))
	}
	p, _ := compiled(t, head+examples[1])
	plan := Limits(p)
	if want := (limit.Overload{Table: "brutes", Flush: limit.FlushAll}); len(plan.Rules) != 1 || plan.Rules[0].Overload != want {
		t.Errorf("%+v", plan.Rules)
	}
}
