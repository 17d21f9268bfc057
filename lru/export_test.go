package lru

// Charge is what an entry with that many bytes of key and value is charged.
func Charge(payload int) int64 { return charge(uint64(payload)) }
