// Package socket makes small reads and writes of a TCP connection cheaper, on
// Linux.
//
// The runtime takes each call of the system for one that may block: it wakes its
// monitor thread if that sleeps, and gets ready to give the processor to another
// thread. A socket of the net package never blocks, so none of this is needed: it
// says at once that there is nothing to read, or no room. docs/adr/0062 has what
// it costs: a third of the round trips of a lone caller.
package socket
