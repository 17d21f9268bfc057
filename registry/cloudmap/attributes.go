package cloudmap

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/geecache/geecache/geecache"
	"github.com/geecache/geecache/registry"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// What Cloud Map takes.
const (
	maxName  = 255  // characters of an attribute's name
	maxValue = 1024 // of its value
	maxTotal = 5000 // of all names and values
	maxCount = 30   // attributes that are not AWS's own
)

// more is what an instance cannot tell in attributes of its own: they hold printable
// ASCII only.
type more struct {
	ID       string            `json:"id,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// attributesOf returns what an instance tells of a member.
func attributesOf(m registry.Member) (map[string]string, error) {
	a := map[string]string{attrAddr: m.Addr}
	var rest more
	if _, hostPort, scheme := strings.Cut(m.Addr, "://"); !scheme {
		putAddress(a, m.Addr)
	} else {
		putAddress(a, hostPort)
	}
	if instanceID(m.ID) != m.ID {
		rest.ID = m.ID
	}
	if plain(m.Zone) {
		a[attrZone] = m.Zone
	} else {
		rest.Zone = m.Zone
	}
	if m.Role != "" {
		a[attrRole] = string(m.Role)
	}
	if m.Weight > 0 {
		a[attrWeight] = strconv.FormatFloat(m.Weight, 'g', -1, 64)
	}
	for name, value := range m.Metadata {
		if plain(name) && plain(value) && len(name) <= maxName && !ours(name) {
			a[name] = value
			continue
		}
		if rest.Metadata == nil {
			rest.Metadata = make(map[string]string)
		}
		rest.Metadata[name] = value
	}
	if rest.ID != "" || rest.Zone != "" || rest.Metadata != nil {
		text, err := json.Marshal(rest)
		if err != nil {
			return nil, fmt.Errorf("cloudmap: register: %w", err)
		}
		a[attrMore] = base64.RawURLEncoding.EncodeToString(text)
	}
	return a, fits(a)
}

func putAddress(a map[string]string, hostPort string) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return
	}
	a[attrPort] = port
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().Is4() {
		a[attrIPv4] = ip.Unmap().String()
	} else if err == nil {
		a[attrIPv6] = ip.String()
	}
}

// plain reports whether a text is one that attributes hold.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// ours reports whether an attribute has a meaning, and so cannot be metadata.
func ours(name string) bool {
	return name == attrZone || strings.HasPrefix(name, "GEECACHE_") || strings.HasPrefix(name, "AWS_")
}

// fits returns an error if the attributes are more than Cloud Map takes.
func fits(a map[string]string) error {
	total := 0
	for name, value := range a {
		total += len(name) + len(value)
		if len(value) > maxValue {
			return fmt.Errorf("cloudmap: register: the attribute %s has %d characters, and Cloud Map takes %d: shorten the ID, the zone or the metadata", name, len(value), maxValue)
		}
	}
	if total > maxTotal || len(a) > maxCount {
		return fmt.Errorf("cloudmap: register: the member has %d attributes of %d characters, and Cloud Map takes %d of %d: give less metadata", len(a), total, maxCount, maxTotal)
	}
	return nil
}

// instanceID returns what an instance can be called: the node's ID, if Cloud Map
// takes it.
func instanceID(id string) string {
	strange := func(c rune) bool {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		return !letter && !strings.ContainsRune("_/:.@-", c)
	}
	if len(id) <= 64 && !strings.ContainsFunc(id, strange) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// memberOf reads an instance, whoever has registered it. port is that of instances
// without one.
func memberOf(in types.HttpInstanceSummary, port int) (registry.Member, error) {
	a := in.Attributes
	m := registry.Member{Peer: geecache.Peer{
		ID: aws.ToString(in.InstanceId), Addr: a[attrAddr], Zone: a[attrZone], Role: geecache.Role(a[attrRole]),
	}}
	if m.Addr == "" {
		host, own := a[attrIPv4], a[attrPort]
		if host == "" {
			host = a[attrIPv6]
		}
		if host == "" {
			return m, errors.New("it has neither " + attrIPv4 + " nor " + attrIPv6)
		}
		if own == "" {
			own = strconv.Itoa(port)
		}
		m.Addr = net.JoinHostPort(host, own)
	}
	if s := a[attrWeight]; s != "" {
		w, err := strconv.ParseFloat(s, 64)
		if err != nil || !(w > 0) {
			return m, fmt.Errorf("%s is %q, and no positive number", attrWeight, s)
		}
		m.Weight = w
	}
	for name, value := range a {
		if !ours(name) {
			if m.Metadata == nil {
				m.Metadata = make(map[string]string)
			}
			m.Metadata[name] = value
		}
	}
	return m, addMore(&m, a[attrMore])
}

// addMore adds what the attribute of that name tells.
func addMore(m *registry.Member, text string) error {
	if text == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("%s: %w", attrMore, err)
	}
	var rest more
	if err := json.Unmarshal(raw, &rest); err != nil {
		return fmt.Errorf("%s: %w", attrMore, err)
	}
	if rest.ID != "" {
		m.ID = rest.ID
	}
	if rest.Zone != "" {
		m.Zone = rest.Zone
	}
	for name, value := range rest.Metadata {
		if m.Metadata == nil {
			m.Metadata = make(map[string]string)
		}
		m.Metadata[name] = value
	}
	return nil
}
