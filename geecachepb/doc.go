// Package geecachepb holds the messages that GeeCache nodes and their clients
// exchange, generated from geecachepb.proto. The gRPC service that carries them
// is in package peergrpc, so that this package needs protobuf and nothing else.
package geecachepb
