//! A TOML file as values with their lines.

use std::{ops::Range, sync::Arc};

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    problem::{Origin, Problem},
    sources::Written,
};

/// Reads every value of a file; what cannot be read is a problem.
pub(super) fn read(path: &str, text: &str, values: &mut Vec<Written>, problems: &mut Vec<Problem>) {
    let reader = Reader { path: path.into(), text };
    match DeTable::parse(text) {
        Ok(table) => reader.table(&mut Vec::new(), table.get_ref(), values),
        // Only the message: the error's full text quotes the line, and with it a password.
        Err(error) => problems.push(Problem {
            place: path.to_owned(),
            got: error.message().lines().next().unwrap_or("a syntax error").to_owned(),
            expected: "TOML".into(),
            origin: Some(reader.origin(error.span().unwrap_or_default())),
        }),
    }
}

struct Reader<'a> {
    path: Arc<str>,
    text: &'a str,
}

impl Reader<'_> {
    fn table(&self, place: &mut Vec<String>, table: &DeTable<'_>, values: &mut Vec<Written>) {
        for (name, value) in table {
            place.push(name.get_ref().to_string());
            match value.get_ref() {
                DeValue::Table(inner) if !inner.is_empty() => self.table(place, inner, values),
                _ => {
                    values.push(Written { place: place.clone(), value: json(value), origin: self.origin(name.span()) })
                }
            }
            place.pop();
        }
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Origin::File { path: self.path.clone(), line }
    }
}

fn json(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => whole(number),
        DeValue::Float(number) => number.as_str().replace('_', "").parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(moment) => Value::from(moment.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(json).collect()),
        DeValue::Table(_) => Value::Object(serde_json::Map::new()),
    }
}

fn whole(number: &DeInteger<'_>) -> Value {
    let digits = number.as_str().replace('_', "");
    match i64::from_str_radix(&digits, number.radix()) {
        Ok(number) => Value::from(number),
        Err(_) => Value::from(digits),
    }
}
