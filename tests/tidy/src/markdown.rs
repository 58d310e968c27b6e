//! The parts of a Markdown page that name things: code spans, code blocks, links, headings.

/// A part of a page and the line where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
    /// Its text, without the marks around it.
    pub text: String,
}

/// What a [`Part`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `code` in a sentence.
    Span,
    /// A whole fenced block.
    Block {
        /// The first word behind the fence; empty if there is none.
        language: String,
    },
    /// The target of a link or an image.
    Link,
    /// A heading.
    Heading,
}

/// Takes a page apart.
pub fn parts(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut paragraph = String::new();
    let mut paragraph_line = 1;
    let mut lines = page.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        if let Some((fence, language)) = fence(line) {
            take_paragraph(&mut parts, &mut paragraph, paragraph_line);
            let inside: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| !line.trim().starts_with(fence)).collect();
            parts.push(Part {
                line: number + 1,
                kind: Kind::Block { language: language.to_owned() },
                text: inside.join("\n"),
            });
        } else if line.trim().is_empty() {
            take_paragraph(&mut parts, &mut paragraph, paragraph_line);
        } else {
            if paragraph.is_empty() {
                paragraph_line = number;
            }
            if let Some(heading) = heading(line) {
                parts.push(Part { line: number, kind: Kind::Heading, text: heading.to_owned() });
            }
            paragraph.push_str(line);
            paragraph.push('\n');
        }
    }
    take_paragraph(&mut parts, &mut paragraph, paragraph_line);
    parts
}

/// The name by which a link reaches a heading, as GitHub makes it.
pub fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
    kept.flat_map(char::to_lowercase).map(|character| if character == ' ' { '-' } else { character }).collect()
}

fn fence(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let mark = line.chars().next().filter(|mark| ['`', '~'].contains(mark))?;
    let info = line.trim_start_matches(mark);
    let fence = &line[..line.len() - info.len()];
    // A line of text may begin with a span in three backticks; a fence has none behind it.
    let opens = fence.len() >= 3 && !info.contains('`');
    opens.then(|| (fence, info.trim().split([' ', ',']).next().unwrap_or_default()))
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level) && text.starts_with(' ')).then(|| text.trim())
}

/// Spans and links may run over the end of a line, never over the end of a paragraph.
fn take_paragraph(parts: &mut Vec<Part>, paragraph: &mut String, first_line: usize) {
    let text = std::mem::take(paragraph);
    let line_at = |at: usize| first_line + text[..at].matches('\n').count();
    let mut prose = text.clone();
    for (start, end, marks) in spans(&text) {
        let inside = text[start + marks..end - marks].replace('\n', " ").trim().to_owned();
        parts.push(Part { line: line_at(start), kind: Kind::Span, text: inside });
        prose.replace_range(start..end, &" ".repeat(end - start));
    }
    for (at, _) in prose.match_indices("](") {
        // The target is read from the text: it may hold what looks like a span.
        let target = &text[at + 2..];
        let end = target.find([')', ' ', '\n']).unwrap_or(target.len());
        parts.push(Part {
            line: line_at(at),
            kind: Kind::Link,
            text: target[..end].trim_matches(['<', '>']).to_owned(),
        });
    }
    let mut at = 0;
    for line in prose.split_inclusive('\n') {
        if let Some((label, target)) = line.trim_start().strip_prefix('[').and_then(|line| line.split_once("]: "))
            && !label.contains(']')
        {
            let target = target.split_whitespace().next().unwrap_or_default();
            parts.push(Part { line: line_at(at), kind: Kind::Link, text: target.to_owned() });
        }
        at += line.len();
    }
}

/// Start, end and number of backticks of each code span.
fn spans(text: &str) -> Vec<(usize, usize, usize)> {
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let start = at + found;
        let marks = text[start..].len() - text[start..].trim_start_matches('`').len();
        runs.push((start, marks));
        at = start + marks;
    }
    let mut spans = Vec::new();
    let mut next = 0;
    while let Some(&(start, marks)) = runs.get(next) {
        let close = runs[next + 1..].iter().position(|(_, closing)| *closing == marks);
        next += close.map_or(1, |skipped| skipped + 2);
        spans.extend(close.map(|_| (start, runs[next - 1].0 + marks, marks)));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(page: &str, kind: &Kind) -> Vec<(usize, String)> {
        parts(page).into_iter().filter(|part| part.kind == *kind).map(|part| (part.line, part.text)).collect()
    }

    #[test]
    fn spans_run_over_lines_but_not_over_paragraphs() {
        let page = "a `one` and ``t`wo``\nand `over\nthe line`, `open\n\nend` here\n";
        let expected = [(1, "one"), (1, "t`wo"), (2, "over the line")].map(|(line, text)| (line, text.to_owned()));
        assert_eq!(texts(page, &Kind::Span), expected);
    }

    #[test]
    fn blocks_keep_their_language_and_hide_their_content() {
        let page = "text\n```sh\nmillstream `demo`\n\n[a](b)\n```\n`after`\n~~~\nplain\n~~~\n";
        assert_eq!(
            texts(page, &Kind::Block { language: "sh".into() }),
            [(3, "millstream `demo`\n\n[a](b)".to_owned())]
        );
        assert_eq!(texts(page, &Kind::Block { language: String::new() }), [(9, "plain".to_owned())]);
        assert_eq!(texts(page, &Kind::Span), [(7, "after".to_owned())]);
        assert_eq!(texts(page, &Kind::Link), []);
    }

    #[test]
    fn links_are_found_inline_and_by_reference() {
        let page = "See [the `page`](docs/a.md \"title\"),\n[b](<b.md>) and `[no](no.md)`.\n\n[c]: c.md\n";
        let expected = [(1, "docs/a.md"), (2, "b.md"), (4, "c.md")].map(|(line, text)| (line, text.to_owned()));
        assert_eq!(texts(page, &Kind::Link), expected);
    }

    #[test]
    fn headings_have_anchors() {
        assert_eq!(texts("# One\n#two\n", &Kind::Heading), [(1, "One".to_owned())]);
        assert_eq!(anchor("3. What `ctx.settle` does, and why"), "3-what-ctxsettle-does-and-why");
    }
}
