//go:build !race

package dataplane

const racing = false
