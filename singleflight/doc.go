// Package singleflight makes one call for all who ask for the same key at the
// same time. It remembers nothing: once a call has returned, the next caller
// starts another one.
//
// It differs from golang.org/x/sync/singleflight in what a caller's context
// means: each caller may leave alone, and the call goes on for the others; only
// when the last one has left is it cancelled. A call that does not return in
// time is left behind, and the number of those is limited.
package singleflight
