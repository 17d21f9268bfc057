// Package metrics tells Prometheus what a node does. It holds no state of its
// own but histograms of durations: all else it reads from the node's statistics
// when it is scraped. Nothing is registered globally, so any number of nodes
// live in one process, each with a registry of its own.
package metrics
