//! The changelog keeps its form: a version a section, newest first, each opening with why.

use millstream_tidy::{File, Offender, Repository, assert_none};

const GROUPS: &[&str] = &["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];

#[test]
fn the_changelog_is_well_formed() {
    let changelog = Repository::open().texts(|path| path == "CHANGELOG.md").pop().expect("there is a CHANGELOG.md");
    assert_none("the changelog lost its form", &malformed(&changelog));
}

/// A `## ` section: its heading, and the lines below it.
struct Section<'a> {
    line: usize,
    heading: &'a str,
    body: Vec<(usize, &'a str)>,
}

fn malformed(changelog: &File) -> Vec<Offender> {
    let sections = sections(changelog);
    let offender = |line: usize, what: &str| Offender::new(&changelog.path, line, what);
    let mut offenders = Vec::new();
    if changelog.text.lines().next() != Some("# Changelog") {
        offenders.push(offender(1, "the title is `# Changelog`"));
    }
    if sections.first().is_none_or(|section| section.heading != "Unreleased") {
        offenders.push(offender(1, "the first section is `## Unreleased`"));
    }
    let mut newest = None;
    for section in sections.iter().skip(1) {
        match release(section.heading) {
            None => offenders.push(offender(section.line, "a release reads `## 1.2.3 - 2026-11-21`")),
            Some(version) if newest.is_some_and(|newest| newest <= version) => {
                offenders.push(offender(section.line, "releases go from the newest to the oldest"));
            }
            version => newest = version,
        }
    }
    for section in &sections {
        offenders.extend(malformed_section(section).map(|(line, what)| offender(line, what)));
    }
    offenders
}

fn sections(changelog: &File) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (line, text) in changelog.lines() {
        if let Some(heading) = text.strip_prefix("## ") {
            sections.push(Section { line, heading: heading.trim(), body: Vec::new() });
        } else if let Some(section) = sections.last_mut()
            && !text.trim().is_empty()
        {
            section.body.push((line, text));
        }
    }
    sections
}

/// Version and date, both of which only grow.
fn release(heading: &str) -> Option<[u32; 3]> {
    let (version, date) = heading.split_once(" - ")?;
    let numbers: Vec<u32> = version.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let date: Vec<&str> = date.split('-').collect();
    let dated = date.iter().map(|part| part.len()).eq([4, 2, 2]) && date.concat().parse::<u32>().is_ok();
    numbers.try_into().ok().filter(|_| dated)
}

/// Only an Unreleased section may be empty, right after a release.
fn malformed_section(section: &Section<'_>) -> impl Iterator<Item = (usize, &'static str)> {
    let mut found = Vec::new();
    let opens_with = section.body.first().map(|(_, text)| *text);
    if opens_with.map_or(section.heading != "Unreleased", |text| text.starts_with(['#', '-', '*'])) {
        found.push((section.line, "a section opens with a paragraph that says why"));
    }
    let (mut seen, mut told) = (Vec::new(), Vec::new());
    for (index, (line, text)) in section.body.iter().enumerate() {
        if text.starts_with("- ") {
            // As a merge leaves them.
            if told.contains(text) {
                found.push((*line, "a change is told once in a section"));
            }
            told.push(*text);
        }
        let Some(group) = text.strip_prefix("### ") else { continue };
        if !GROUPS.contains(&group) {
            found.push((*line, "a group is Added, Changed, Deprecated, Removed, Fixed or Security"));
        }
        if seen.contains(&group) {
            found.push((*line, "each group comes once in a section"));
        }
        seen.push(group);
        if section.body.get(index + 1).is_none_or(|(_, next)| !next.starts_with("- ")) {
            found.push((*line, "a group holds a list"));
        }
    }
    found.into_iter()
}

#[test]
fn a_good_changelog_passes() {
    let text = "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-12-01\n\nWhy.\n\n### Added\n\n- `a`\n\n### Fixed\n- b\n\n\
                ## 0.1.0 - 2026-11-21\n\nWhy.\n";
    assert_eq!(malformed(&File::new("CHANGELOG.md", text)), []);
}

#[test]
fn planted_faults_are_caught() {
    let text = "# Changes\n## 0.1.0 - 2026-11-21\n### New\n- a\n## Next\nWhy.\n### Added\n### Added\n- a\n- a\n\
                ## 0.1.0 - 2026-11-21\nWhy.\n## 0.2.0 - 2026-11-22\nWhy.\n";
    let offenders = malformed(&File::new("CHANGELOG.md", text));
    let expected = [
        (1, "the title is `# Changelog`"),
        (1, "the first section is `## Unreleased`"),
        (5, "a release reads `## 1.2.3 - 2026-11-21`"),
        (13, "releases go from the newest to the oldest"),
        (2, "a section opens with a paragraph that says why"),
        (3, "a group is Added, Changed, Deprecated, Removed, Fixed or Security"),
        (7, "a group holds a list"),
        (8, "each group comes once in a section"),
        (10, "a change is told once in a section"),
    ];
    assert_eq!(offenders, expected.map(|(line, what)| Offender::new("CHANGELOG.md", line, what)));
}
