// Package archtest holds the tests of the repository's own rules: which package
// may import which, and the house style as far as a program can see it. It has
// no code of its own, and nothing imports it.
package archtest
