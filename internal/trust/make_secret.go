package trust

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// secretBytes is how many random bytes a secret has.
const secretBytes = 32

// MakeSecret writes a secret that nobody knows to a file, or leaves a file as it is that
// holds secrets already: then made is false. Who reads it meanwhile finds all of it or
// nothing. The secret stands behind prefix. Only its owner may read it; with shared, others may too, and may enter
// its directory.
func MakeSecret(path, prefix string, shared bool) (made bool, err error) {
	dir, mode := filepath.Dir(path), fs.FileMode(0o600)
	if shared {
		mode = 0o644
		if err := os.Chmod(dir, 0o755); err != nil {
			return false, err
		}
	}
	if text, err := os.ReadFile(path); err == nil {
		if _, err := ParseSecrets(string(text)); err != nil {
			return false, fmt.Errorf("%s is there already, and holds no secrets: %w", path, err)
		}
		return false, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	f, err := os.CreateTemp(dir, ".secret-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	random := make([]byte, secretBytes)
	_, _ = rand.Read(random) // never fails
	_, err = f.WriteString(prefix + hex.EncodeToString(random) + "\n")
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return false, err
	}
	// A link, because it replaces nothing: another process may have made one meanwhile.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	} else if err != nil {
		return false, nil
	}
	return true, nil
}
