package lru

// A queue is a list of a shard's entries, the newest at the head. The links are
// slots of the table, not pointers: an entry that a reader keeps must not keep
// its neighbours alive, nor the garbage collector follow them.
type queue struct {
	head, tail ref
	bytes      int64 // what the entries are charged for
}

// pushLocked puts the entry e, which is in slot r and is charged for size bytes, at
// the head.
func (q *queue) pushLocked(t *table, r ref, e *Entry, size int64) {
	q.linkLocked(t, r, e)
	q.bytes += size
}

// unlinkLocked takes the entry e, which is charged for size bytes, out.
func (q *queue) unlinkLocked(t *table, e *Entry, size int64) {
	q.cutLocked(t, e)
	q.bytes -= size
}

// toHeadLocked moves the entry e, which is in slot r, to the head.
func (q *queue) toHeadLocked(t *table, r ref, e *Entry) {
	if q.head != r {
		q.cutLocked(t, e)
		q.linkLocked(t, r, e)
	}
}

func (q *queue) linkLocked(t *table, r ref, e *Entry) {
	e.prev, e.next = 0, q.head
	if q.head != 0 {
		t.at(q.head).prev = r
	} else {
		q.tail = r
	}
	q.head = r
}

func (q *queue) cutLocked(t *table, e *Entry) {
	if e.prev != 0 {
		t.at(e.prev).next = e.next
	} else {
		q.head = e.next
	}
	if e.next != 0 {
		t.at(e.next).prev = e.prev
	} else {
		q.tail = e.prev
	}
}
