// Package geecache is a distributed read-through cache: it fills itself from a
// slow source, loads a key once for a whole cluster, and answers from memory.
// It refuses to be a store: values come from the source, and nothing else
// writes them.
//
// A [Node] is one member of a cluster. A [Group] is a named key space of a node,
// with a [Getter] that loads what is missing. Each key is owned by one node, which
// a consistent-hash ring chooses; the others ask the owner:
//
//	Group.Get
//	  main cache, hot cache ---- hit: a view of the stored bytes, no allocation
//	  |  miss
//	  who owns the key?
//	  |- this node: join or start the load flight --> source --> main cache
//	  '- a peer:    join or start the fetch flight -> the owner, and its load flight
//	                |                                 (maybe a hot copy here)
//	                '- in trouble: the next live node on the ring stands in,
//	                   then this node
//
// # One load a key
//
// For a key and one view of the cluster there is at most one load at the
// key's owner, plus one at each stand-in that was used; without faults, one.
// [GroupStats] counts each kind.
//
// # Errors
//
// "Not found" is an answer: test for [ErrNotFound]. All errors keep their
// meaning on the way between nodes; see [CodeOf] for the list.
//
// # Without a cluster
//
// The zero [Config] makes a node that stands alone: a cache with one load a key
// for the process. Add Listen and Peers to make it a member of a cluster.
package geecache
