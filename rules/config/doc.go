// Package config reads the two configuration files into blueprints: Node (who I am,
// my devices, my links) and Policy (what is the same on every node).
//
// It is strict: what it does not know it refuses, and it reports every fault of a
// file at once, each as
//
//	file:line:column: what is wrong: how to mend
//
// A file goes through three steps:
//
//	bytes --(syntax.go, tree.go)--> tree of nodes with positions
//	      --(reader.go, scalar.go, macro.go)--> blueprint, key by key
//	      --(refer.go, check.go)--> references and meaning across tables, across files
//
// The first step stands on go-toml's unstable parser because its decoder gives no
// position for faults of meaning and stops at the first wrong type.
//
// A blueprint is plain data. Every value in it is a Value[T], which remembers where it
// was written, so that later stages (compiling, starting) can point at it too. The
// blueprint is not what a packet meets: package rules compiles that.
//
// All functions are safe for concurrent use; a blueprint is not to be changed after it
// was returned.
package config
