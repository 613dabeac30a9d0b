// Package lib reaches the unexported functions of memberlist and serf by
// linkname, so that bytes, verdicts and timings come from the library itself.
// The message structs are mirrors: the codec takes names and order from them,
// and the functions that take them by pointer need the same layout.
package lib
