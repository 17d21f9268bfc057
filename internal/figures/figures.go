// Package figures finds the figures in documents, and looks whether the source of each is
// known. A figure is a number with a unit, such as 50 ms, 1.5 times or $0.20, in prose, in a
// table, or in a comment beside a command; commands themselves have none.
package figures

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	digits = `\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?`
	times  = `(?:(?:ns|µs|μs|us|usec|ms|msec|s|min|mins|h|hrs?|d|secs?|nanoseconds?|microseconds?|milliseconds?|seconds?|minutes?|hours?|days?|weeks?|months?|years?)(?:/op|/\d* ?keys)?)`
	units  = `(?:` + times + `|%|‰|percent|per cent|x|X|×|times|fold|[a-z]+/s|/s|1/s|M/s|k/s|(?:million |thousand )?(?:[a-z]+ )?(?:per|an?) (?:second|minute|hour|day|month)` +
		`|[kKMGT]i?B(?:/s)?|bytes?|B|[kKMG]?bits?(?:/s)?|[KMG]bit/s|[kMG]bps|qps|rps|allocs/op|B/op|[MG]Hz|vCPUs?|USD|EUR|dollars?|euros?|cents?|\$/[a-z]+|million|thousand|orders? of magnitude)`
	number = `[~$€£]?` + digits
	joint  = `\s?(?:to|-|–|…|\.\.|and|or|by)\s?`

	// gap is what may stand between a number and its unit: spaces, a hyphen, emphasis, markup.
	gap = "(?:[\\s*_`\u00a0\u2009\u202f-]|&nbsp;|&#\\d+;|<[^<>]*>){0,4}"

	// words are numbers in letters, with units that make figures of them.
	words = `(?i:(?:an? )?(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|dozens?|millions?|half an?|quarter of an?)` +
		`(?: (?:hundred|thousand|million|dozen))?(?: of)?)[ -](?:` + times + `|percent|times|fold)|(?i:(?:twice|thrice|half) as|(?:two|three|four|five|ten|hundred)fold|orders? of magnitude|(?:halves|doubles|triples) the)`

	// shares are numbers whose unit is in the words before them.
	shares = `(?:factor|ratio|speedup) of ` + number
)

var (
	figure  = longest(regexp.MustCompile(`(?:USD ?|US\$|\$|€|£)` + digits + `|` + number + `(?:` + joint + number + `)*` + gap + units + `|` + shares + `|` + words))
	bare    = regexp.MustCompile(digits)
	unit    = regexp.MustCompile(`(?:^|[^\w])(` + units + `|\$)(?:$|[^\w])`)
	fence   = regexp.MustCompile("^ *```")
	inline  = regexp.MustCompile("`[^`\n]*`")
	alone   = longest(regexp.MustCompile("^`" + number + `(?:` + joint + number + `)*\s?(?:` + units + ")?`$"))
	target  = regexp.MustCompile(`\]\([^)\n]*\)|<!--.*?-->|https?://[^\s)>]+`)
	comment = regexp.MustCompile(`(?:^|\s)(?:#|//) .*`)
	split   = regexp.MustCompile(`^[|:\s-]+$`)
	layout  = regexp.MustCompile(`\d bytes?$`)
	drawn   = regexp.MustCompile(`(?s)<style>.*?</style>|<[^>]*>`)
)

// longest makes an expression match as much as it can: "minutes" and not "min".
func longest(re *regexp.Regexp) *regexp.Regexp {
	re.Longest()
	return re
}

// filler stands where code was, so that places stay as they are.
const filler = '\x01'

// A Figure is one that was found.
type Figure struct {
	Text       string // as the document has it, with single spaces
	Line       int
	start, end int // in the document's condensed text
}

// A document is a text in which figures are looked for.
type document struct {
	text  string // with single spaces for all white space
	prose string // the same without code, place by place
	lines []int  // of each place
	cells []cell
}

// A cell of a table whose column or row has a unit.
type cell struct {
	start, end int
	unit       string
}

// read condenses a document.
func read(markdown string) document {
	prose := withoutCode(markdown)
	places := make([]int, len(markdown)+1)
	var d document
	var text, left strings.Builder
	line, space := 1, false
	for i := range len(markdown) {
		c := markdown[i]
		places[i] = text.Len()
		if c < utf8.RuneSelf && unicode.IsSpace(rune(c)) {
			if !space {
				text.WriteByte(' ')
				left.WriteByte(' ')
				d.lines = append(d.lines, line)
			}
			space = true
		} else {
			text.WriteByte(c)
			left.WriteByte(prose[i])
			d.lines = append(d.lines, line)
			space = false
		}
		if c == '\n' {
			line++
		}
	}
	places[len(markdown)] = text.Len()
	d.text, d.prose = text.String(), left.String()
	for _, c := range unitCells(prose) {
		d.cells = append(d.cells, cell{places[c.start], places[c.end], c.unit})
	}
	return d
}

// withoutCode puts fillers in place of code, except for its comments, and of what links
// lead to.
func withoutCode(markdown string) string {
	var b strings.Builder
	fenced := false
	for line := range strings.Lines(markdown) {
		body := strings.TrimRight(line, "\n")
		switch {
		case fence.MatchString(line):
			fenced = !fenced
			b.WriteString(fill(body))
		case fenced || strings.HasPrefix(line, "    "):
			if at := comment.FindStringIndex(body); at != nil {
				b.WriteString(fill(body[:at[0]]) + body[at[0]:])
			} else {
				b.WriteString(fill(body))
			}
		default:
			body = inline.ReplaceAllStringFunc(body, func(code string) string {
				if alone.MatchString(code) { // no code, but a figure in another type
					return code
				}
				return fill(code)
			})
			body = target.ReplaceAllStringFunc(body, fill)
			b.WriteString(body)
		}
		if strings.HasSuffix(line, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func fill(s string) string { return strings.Repeat(string(filler), len(s)) }

// unitCells returns the cells of tables whose column's head names a unit, or whose row's
// first cell does.
func unitCells(text string) (cells []cell) {
	var head []string
	at, last := 0, ""
	for line := range strings.Lines(text) {
		begin := at
		at += len(line)
		trimmed := strings.TrimSpace(line)
		if !strings.HasPrefix(trimmed, "|") {
			head, last = nil, ""
			continue
		}
		if split.MatchString(trimmed) && last != "" {
			head = strings.Split(last, "|")
			continue
		}
		last = line
		if head == nil {
			continue
		}
		parts := strings.Split(line, "|")
		place := begin
		for i, part := range parts {
			of := ""
			if i < len(head) {
				of = unitIn(head[i])
			}
			if of == "" && i > 1 {
				of = unitIn(parts[1])
			}
			if of != "" && i > 0 {
				cells = append(cells, cell{place, place + len(part), of})
			}
			place += len(part) + 1
		}
	}
	return cells
}

// unitIn returns the unit that a table's head names, if it does.
func unitIn(head string) string {
	if found := figure.FindString(head); found != "" && found != "1/s" {
		return "" // it is that figure's
	}
	if m := unit.FindStringSubmatch(head); m != nil {
		return m[1]
	}
	return ""
}

// Find returns the figures of a document in Markdown, in their order.
func Find(markdown string) []Figure { return read(markdown).figures() }

func (d document) figures() []Figure {
	var found []Figure
	for _, at := range figure.FindAllStringIndex(d.prose, -1) {
		if d.stands(at[0], at[1]) && d.prose[at[0]:at[1]] != "1/s" { // which is a unit
			found = append(found, d.figure(at[0], at[1], ""))
		}
	}
	for _, c := range d.cells {
		for _, at := range bare.FindAllStringIndex(d.prose[c.start:c.end], -1) {
			f := d.figure(c.start+at[0], c.start+at[1], " "+c.unit)
			if d.stands(f.start, f.end) && !within(found, f) {
				found = append(found, f)
			}
		}
	}
	return found
}

// Numbers returns all numbers of a document that are no part of a word.
func Numbers(markdown string) []Figure {
	d := read(markdown)
	var found []Figure
	for _, at := range bare.FindAllStringIndex(d.prose, -1) {
		if d.stands(at[0], at[1]) {
			found = append(found, d.figure(at[0], at[1], ""))
		}
	}
	return found
}

func (d document) figure(start, end int, unit string) Figure {
	return Figure{Text: strings.TrimRight(d.text[start:end], ",.") + unit, Line: d.lines[start], start: start, end: end}
}

// stands reports whether what is between two places is no part of a longer word or number.
func (d document) stands(start, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(d.prose[:start])
	after, size := utf8.DecodeRuneInString(d.prose[end:])
	inWord := func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
	if start > 0 && (inWord(before) || before == '.' || before == filler) || end < len(d.prose) && inWord(after) && d.prose[end-1] != '%' {
		return false
	}
	if after == '.' { // a version: 1.2.3
		next, _ := utf8.DecodeRuneInString(d.prose[end+size:])
		return !unicode.IsDigit(next)
	}
	return true
}

func within(all []Figure, f Figure) bool {
	for _, other := range all {
		if other.start <= f.start && f.end <= other.end {
			return true
		}
	}
	return false
}
