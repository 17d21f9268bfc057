package plain

import (
	"fmt"
	"net/url"
	"strings"
)

// A Query is what a request asks for: its parameters key and group.
type Query struct {
	Key, Group       string
	HasKey, HasGroup bool
}

// ParseQuery reads key and group from a raw query. A key may hold any bytes, so
// nothing but their escaping is undone. Other parameters are left alone. Errors name the
// parameter, for the client.
func ParseQuery(raw string) (Query, error) {
	var q Query
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		var field *string
		var has *bool
		switch name {
		case "key":
			field, has = &q.Key, &q.HasKey
		case "group":
			field, has = &q.Group, &q.HasGroup
		default:
			continue
		}
		if *has {
			return q, fmt.Errorf("parameter %q is given twice: ask for one key at a time, or POST several to /api/batch", name)
		}
		*has = true
		var err error
		if *field, err = url.QueryUnescape(value); err != nil {
			return q, fmt.Errorf("parameter %q: %w: escape its bytes as %%XX", name, err)
		}
	}
	return q, nil
}
