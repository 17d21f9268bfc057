// Package peergrpc speaks gRPC with the nodes of a cluster and with clients in
// other languages. It holds the generated service; what a key's answer is, it
// asks an [Answerer].
//
// A [Server] is an http.Handler, so that gRPC shares the node's one port with
// the other protocols, and it can have a listener of its own. A [Transport]
// makes the clients of nodes that are told to speak gRPC to each other.
package peergrpc
