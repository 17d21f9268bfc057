// Package snapshot saves the entries that a node's groups use most in parts, and gives
// them back to the nodes of the same cluster that answer for the keys now. It trusts
// what it reads no further than its checksums go, never waits for the source, and
// promises no more than a warmer start: where a snapshot is missing, too old, torn or
// another cluster's, a node starts cold.
//
// docs/SNAPSHOTS.md has the format and what a snapshot means for freshness.
package snapshot
