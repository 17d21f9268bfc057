// Package consistenthash places keys on nodes so that a change of one node moves
// only that node's share of the keys. It holds no connections and watches
// nothing: a ring never changes, and a new set of nodes is a new ring.
//
// # Why xxhash
//
// Keys of real systems differ in their last digits: user:10, user:11, ... FNV
// mixes the last bytes of its input too little into the upper bits of its
// result: such keys land next to each other on the ring, and a whole decade of
// them on one node. xxhash64 spreads them; a test in this package compares the
// two.
//
// # Placement
//
// A node has VirtualNodes times its weight points. The place of point i is
// splitmix64's i-th output from the seed xxhash64(ID), cut to 48 bits. A key
// belongs to the first point at or after the upper 48 bits of its own hash,
// around the end of the ring. Where two nodes' points coincide, the smaller ID
// wins. All nodes of a cluster must agree on all of it; [Version] names it.
package consistenthash
