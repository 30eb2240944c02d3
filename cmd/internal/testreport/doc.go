// Command testreport runs a `go test -json` command line and prints what a person
// needs of it: one line a package, the output of what failed, and at the end every
// skipped test with its reason, so that a run that tested little cannot look like one
// that tested all. It exits as the command it ran.
//
//	testreport [-summary FILE] go test -json ./...
package main
