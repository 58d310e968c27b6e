//! Sources laid over each other and checked against the table of keys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    key::Key,
    keys::{self, Spelling},
    path::{KeyPath, fold},
    problem::{Origin, Problem, distance, shown},
    sources::{Layer, Written},
};

/// A checked value and where it comes from.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Every value that holds, by place.
#[derive(Default)]
pub(super) struct Merged(BTreeMap<KeyPath, Entry>);

impl Merged {
    /// Lays the layers over each other, the weakest first. A value that its key does not take is a problem, and is
    /// left out.
    pub(super) fn of(layers: Vec<Layer>, problems: &mut Vec<Problem>) -> Self {
        let mut merged = Self::default();
        for layer in layers {
            merged.lay(check(&layer, problems));
        }
        merged
    }

    /// A stronger value also replaces what stood below or above its place: `removeOnFail = true` ends
    /// `removeOnFail.count`.
    fn lay(&mut self, stronger: BTreeMap<KeyPath, Entry>) {
        self.0.retain(|old, _| !stronger.keys().any(|path| path.holds(old) || old.holds(path)));
        self.0.extend(stronger);
    }

    pub(super) fn get(&self, path: &KeyPath) -> Option<&Entry> {
        self.0.get(path)
    }

    /// The names of the queues that have a table.
    pub(super) fn queues(&self) -> BTreeSet<&str> {
        self.0.keys().filter(|path| path.0[0] == "queues").map(|path| &*path.0[1]).collect()
    }

    /// The first of what is set below a place.
    pub(super) fn first_below(&self, place: &KeyPath) -> Option<&Entry> {
        self.0.iter().find_map(|(path, entry)| place.holds(path).then_some(entry))
    }

    /// Whether anything is set below a place.
    pub(super) fn any_below(&self, place: &KeyPath) -> bool {
        self.0.keys().any(|path| place.holds(path))
    }
}

fn check(layer: &Layer, problems: &mut Vec<Problem>) -> BTreeMap<KeyPath, Entry> {
    let mut checked: BTreeMap<KeyPath, Entry> = BTreeMap::new();
    for written in &layer.values {
        let Some((path, key)) = keys::find(&written.place, layer.spelling) else {
            problems.extend(misplaced(written, layer.spelling, problems));
            continue;
        };
        let Some(value) = key.kind.read(&written.value, layer.text) else {
            problems.push(refused(&path, key, written));
            continue;
        };
        if let Some(first) = checked.get(&path).filter(|first| !layer.later_wins && first.value != value) {
            problems.push(Problem {
                place: path.to_string(),
                got: format!("two values, {} and {}", hidden(key, &first.value), hidden(key, &value)),
                expected: format!("one spelling of it (the first: {})", first.origin),
                origin: Some(written.origin.clone()),
            });
            continue;
        }
        checked.insert(path, Entry { value, origin: written.origin.clone() });
    }
    checked
}

fn refused(path: &KeyPath, key: &Key, written: &Written) -> Problem {
    Problem {
        place: path.to_string(),
        got: hidden(key, &written.value),
        expected: key.kind.expected(),
        origin: Some(written.origin.clone()),
    }
}

fn hidden(key: &Key, value: &Value) -> String {
    match value {
        Value::String(_) if key.kind.is_secret() => "a secret".into(),
        other => shown(other),
    }
}

/// A value at a place that is no key's. Its value is not shown: a misspelt password is a password.
fn misplaced(written: &Written, spelling: Spelling, problems: &[Problem]) -> Option<Problem> {
    let place = &written.place;
    let origin = Some(written.origin.clone());
    let below = keys::below(place, spelling);
    if !below.is_empty() {
        let empty = written.value.as_object().is_some_and(|table| table.is_empty());
        let expected = format!("a table of {}", below.join(", "));
        let got = kind_of(&written.value).to_owned();
        return (!empty).then(|| Problem { place: KeyPath(place.clone()).to_string(), got, expected, origin });
    }
    for end in 1..place.len() {
        if let Some((path, key)) = keys::find(&place[..end], spelling) {
            let problem =
                Problem { place: path.to_string(), got: "a table".into(), expected: key.kind.expected(), origin };
            let known = problems.iter().any(|other| other.place == problem.place && other.got == problem.got);
            return (!known).then_some(problem);
        }
    }
    let expected = suggestion(place, spelling);
    Some(Problem { place: KeyPath(place.clone()).to_string(), got: "an unknown key".into(), expected, origin })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a flag",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
        Value::Null => "nothing",
    }
}

/// What was probably meant: the nearest key, or else what there is at the place.
fn suggestion(place: &[String], spelling: Spelling) -> String {
    /// Further than this, two keys are no longer one misspelt.
    const CHANGES_MAX: usize = 3;
    let folded = |segments: &[String]| segments.iter().map(|segment| fold(segment)).collect::<Vec<_>>().join(".");
    let candidate = |path: &str| {
        let segments = path.split('.').enumerate();
        let fill = |(index, segment): (usize, &str)| match segment {
            "*" => place.get(index).map_or("<queue>", |name| &**name).to_owned(),
            other => other.to_owned(),
        };
        KeyPath(segments.map(fill).collect())
    };
    let named = |path: KeyPath| match spelling {
        Spelling::Exact => path.to_string(),
        Spelling::Folded => path.variable(),
    };
    let nearest = keys::all()
        .map(|key| candidate(&key.path))
        .map(|path| (distance(&folded(&path.0), &folded(place)), path))
        .min_by_key(|(changes, _)| *changes);
    if let Some((_, path)) = nearest.filter(|(changes, _)| *changes <= CHANGES_MAX) {
        return format!("a known one: did you mean `{}`?", named(path));
    }
    let deepest =
        (0..place.len()).rev().map(|end| keys::below(&place[..end], spelling)).find(|words| !words.is_empty());
    format!("one of {}", deepest.unwrap_or_default().join(", "))
}
