package selector

import (
	"strconv"
	"strings"

	"holdfast/conntrack"
	"holdfast/dataplane/packet"
	"holdfast/rules/config"
)

// classTest says whether connections of a class can be as a word wants them.
type classTest func(*conntrack.Class, *Names) bool

// OfClass reports whether the class of a connection alone says if it is chosen: the words
// are rule, gateway, port, and label where no rule's label that is filled in from each
// connection ({src}, {dst}, {port}, {proto}) could come to the text that is asked for. Then
// MatchClass is exact, and a kill is a few stores.
func (s *Selector) OfClass(n *Names) bool {
	for i := range s.words {
		w := &s.words[i]
		if w.class == nil || w.key == "label" && n.dependsOnConnection(w.value) {
			return false
		}
	}
	return s.all || len(s.words) > 0
}

// MatchClass reports whether the selector can choose connections of a class: it chooses
// all of them if OfClass, and else no other than these.
func (s *Selector) MatchClass(c *conntrack.Class, n *Names) bool {
	for i := range s.words {
		if w := &s.words[i]; w.class != nil && !w.class(c, n) {
			return false
		}
	}
	return s.all || len(s.words) > 0
}

// dependsOnConnection reports whether some rule's label comes to the text for some of the
// rule's connections only. Without labels to look at it may.
func (n *Names) dependsOnConnection(text string) bool {
	if n == nil || n.Labels == nil {
		return true
	}
	for _, label := range n.Labels() {
		if label != text && mayBecome(label, text) {
			return true
		}
	}
	return false
}

// Placeholders of labels: those that a class fills in, and those that need the connection.
var (
	ofClass      = []string{"{in}", "{out}", "{id}"}
	ofConnection = []string{"{src}", "{dst}", "{port}", "{proto}"}
)

// mayBecome reports whether a label that a connection fills in could come to the text:
// whether what stands around the placeholders is found in it, in that order.
func mayBecome(label, text string) bool {
	mine := false
	for _, p := range ofConnection {
		mine = mine || strings.Contains(label, p)
	}
	if !mine {
		return false
	}
	for first := true; ; first = false {
		literal, rest, found := cutPlaceholder(label)
		switch {
		case !found && first:
			return text == literal
		case !found:
			return strings.HasSuffix(text, literal)
		case first && !strings.HasPrefix(text, literal):
			return false
		}
		at := strings.Index(text, literal)
		if at < 0 {
			return false
		}
		label, text = rest, text[at+len(literal):]
	}
}

// cutPlaceholder cuts a label around its first placeholder.
func cutPlaceholder(label string) (before, after string, found bool) {
	at, size := len(label), 0
	for _, known := range [][]string{ofClass, ofConnection} {
		for _, p := range known {
			if i := strings.Index(label, p); i >= 0 && i < at {
				at, size = i, len(p)
			}
		}
	}
	return label[:at], label[at+size:], size > 0
}

// mayHaveLabel is the class's part of label=: exact but for labels that the connection
// fills in.
func mayHaveLabel(c *conntrack.Class, n *Names, label string) bool {
	id, labels := n.rule(c)
	for _, l := range labels {
		if l == label || mayBecome(l, label) || n.becomes(l, id, label, c, nil) {
			return true
		}
	}
	return false
}

// hasLabel is label= of a connection: the final destination counts, as the rule saw it.
func hasLabel(v *conntrack.View, n *Names, label string) bool {
	id, labels := n.rule(&v.Class)
	for _, l := range labels {
		if l == label || n.becomes(l, id, label, &v.Class, v) {
			return true
		}
	}
	return false
}

// becomes reports whether a label of the rule id comes to the text, filled in from a class
// and, where that is known, a connection. It is asked about a million connections, so it
// makes no garbage, and gives up at the first difference.
func (n *Names) becomes(label, id, text string, c *conntrack.Class, v *conntrack.View) bool {
	var buf [64]byte
	for {
		before, after, found := strings.Cut(label, "{")
		if !found {
			return text == label
		}
		if text, found = strings.CutPrefix(text, before); !found {
			return false
		}
		name, behind, closed := strings.Cut(after, "}")
		filled, known := n.appendValue(buf[:0], name, id, c, v)
		if closed && known {
			label = behind
		} else {
			filled, label = append(buf[:0], '{'), after // an ordinary brace
		}
		if len(filled) > len(text) || text[:len(filled)] != string(filled) {
			return false
		}
		text = text[len(filled):]
	}
}

// appendValue appends what a placeholder stands for, if it is one that is known.
func (n *Names) appendValue(b []byte, name, id string, c *conntrack.Class, v *conntrack.View) ([]byte, bool) {
	switch name {
	case "in":
		return append(b, n.port(c.Ingress)...), true
	case "out":
		return append(b, n.port(c.Egress)...), true
	case "id":
		return append(b, id...), true
	}
	if v == nil {
		return b, false
	}
	switch name {
	case "src":
		return v.Original.Src.Netip().AppendTo(b), true
	case "dst":
		return v.Reply.Src.Netip().AppendTo(b), true
	case "port":
		port := v.Reply.SrcPort
		if !config.Protocol(v.Original.Proto).HasPorts() {
			port = 0
		}
		return strconv.AppendUint(b, uint64(port), 10), true
	case "proto":
		return append(b, config.Protocol(v.Original.Proto).String()...), true
	}
	return b, false
}

// rule returns the id and the labels of a class's rule.
func (n *Names) rule(c *conntrack.Class) (id string, labels []string) {
	if n == nil || n.Rule == nil {
		return "", nil
	}
	return n.Rule(c.Rule)
}

func (n *Names) port(id packet.PortID) string {
	if n == nil || n.Port == nil {
		return ""
	}
	return n.Port(id)
}
