package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer/html"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

var (
	image    = regexp.MustCompile(`<p><img src="[^"]*"[^>]*></p>\n?`)
	anchor   = regexp.MustCompile(`<a href="([^"]*)">(.*?)</a>`)
	chapters = regexp.MustCompile(`<h2 id="([^"]*)">(.*?)</h2>`)
	tables   = regexp.MustCompile(`(?s)<table>.*?</table>`)
	tableRow = regexp.MustCompile(`(?s)<tr>.*?</tr>`)
	tableTop = regexp.MustCompile(`<th>(.*?)</th>`)
	tableOne = regexp.MustCompile(`<td>(.*?)</td>`)
)

// A link leads to a chapter of the page.
type link struct{ ID, Title template.HTML }

// A figure is a chart in two widths.
type figure struct{ Wide, Narrow template.HTML }

// HTML returns the document as one page that needs no other file, no network and no
// script. The charts are behind its first chapter.
func (d *Document) HTML() ([]byte, error) {
	md := goldmark.New(goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(parser.WithAutoHeadingID()),
		goldmark.WithRendererOptions(html.WithUnsafe())) // for the comments and details of our own; what is quoted is escaped
	var body bytes.Buffer
	if err := md.Convert(d.Markdown, &body); err != nil {
		return nil, fmt.Errorf("making HTML of the comparison: %w", err)
	}
	text := image.ReplaceAllString(body.String(), "")
	text = anchor.ReplaceAllStringFunc(text, func(s string) string {
		if m := anchor.FindStringSubmatch(s); !strings.Contains(m[1], ":") && !strings.HasPrefix(m[1], "#") {
			return m[2] // to a file of the project, which is not with the page
		}
		return s
	})
	text = tables.ReplaceAllStringFunc(text, dress)
	data := struct {
		Links         []link
		Summary, Rest template.HTML
		Figures       []figure
	}{}
	for _, m := range chapters.FindAllStringSubmatch(text, -1) {
		data.Links = append(data.Links, link{template.HTML(m[1]), template.HTML(m[2])})
	}
	for _, name := range chartNames() {
		if d.Charts[name] != nil {
			data.Figures = append(data.Figures, figure{template.HTML(d.Charts[name]), template.HTML(d.Narrow[name])})
		}
	}
	end := len(text)
	if at := chapters.FindAllStringIndex(text, 2); len(at) == 2 {
		end = at[1][0]
	}
	data.Summary, data.Rest = template.HTML(text[:end]), template.HTML(text[end:])
	var out bytes.Buffer
	if err := page.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("making HTML of the comparison: %w", err)
	}
	return out.Bytes(), nil
}

// dress lets a table scroll by itself, and marks what is published and what is missing.
func dress(table string) string {
	var published []int
	for i, m := range tableTop.FindAllStringSubmatch(table, -1) {
		if strings.Contains(m[1], "published in") {
			published = append(published, i)
		}
	}
	table = tableRow.ReplaceAllStringFunc(table, func(row string) string {
		at := -1
		mark := func(re *regexp.Regexp, tag string) {
			row = re.ReplaceAllStringFunc(row, func(cell string) string {
				at++
				text := re.FindStringSubmatch(cell)[1]
				var classes []string
				if slices.Contains(published, at) {
					classes = append(classes, "published")
				}
				if text == notMeasured || text == notSupported || text == nothing || text == "failed" {
					classes = append(classes, "none")
				}
				if len(classes) == 0 {
					return cell
				}
				return fmt.Sprintf(`<%s class="%s">%s</%s>`, tag, strings.Join(classes, " "), text, tag)
			})
		}
		mark(tableTop, "th")
		mark(tableOne, "td")
		return row
	})
	return `<div class="scroll" tabindex="0">` + table + `</div>`
}
