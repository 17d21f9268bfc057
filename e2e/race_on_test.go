//go:build unix && race

package e2e

// raceEnabled says that the program is built with the race detector, as this
// test is.
const raceEnabled = true
