// Package geecache is a distributed read-through cache.
package geecache
