package dynamodb

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// maxKeyBytes is the size of the largest partition key.
const maxKeyBytes = 2048

// keyAttribute returns key as an attribute of the type S, B or N, and whether
// that type can hold it.
func keyAttribute(kind, key string) (types.AttributeValue, bool) {
	if key == "" || len(key) > maxKeyBytes {
		return nil, false
	}
	switch kind {
	case "B":
		return &types.AttributeValueMemberB{Value: []byte(key)}, true
	case "N":
		return &types.AttributeValueMemberN{Value: key}, isNumber(key)
	default:
		return &types.AttributeValueMemberS{Value: key}, utf8.ValidString(key)
	}
}

var number = regexp.MustCompile(`^[+-]?([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,4}))?$`)

// isNumber tells whether s is a number of DynamoDB's: at most 38 digits, and
// between 1e-130 and 9.99...e125 if it is not zero.
func isNumber(s string) bool {
	m := number.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	whole, fraction := m[1], m[2]
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return true
	}
	exponent := 0
	if m[3] != "" {
		exponent, _ = strconv.Atoi(m[3]) // the pattern bounds it
	}
	// The number is d.ddd times ten to the magnitude.
	magnitude := exponent - len(fraction) + len(digits) - 1
	return len(strings.TrimRight(digits, "0")) <= 38 && -130 <= magnitude && magnitude <= 125
}
