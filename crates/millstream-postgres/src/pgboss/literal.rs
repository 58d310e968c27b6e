//! Columns of parameters as text, for drivers of which nothing is known.

use crate::{rows::Time, sql::Param};

/// A column of values: to be bound as an array, or written as the literal of one.
pub(crate) trait Column: Param + Sync {
    /// As Postgres reads an array.
    fn literal(&self) -> String;
}

impl<T: Element> Column for Vec<T>
where
    Self: Param + Sync,
{
    fn literal(&self) -> String {
        let elements: Vec<String> = self.iter().map(|element| quoted(element.text().as_deref())).collect();
        format!("{{{}}}", elements.join(","))
    }
}

fn quoted(text: Option<&str>) -> String {
    match text {
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        None => "NULL".to_owned(),
    }
}

/// A value in such a column.
pub(crate) trait Element {
    /// As Postgres reads it; `None` is NULL.
    fn text(&self) -> Option<String>;
}

impl<T: Element> Element for Option<T> {
    fn text(&self) -> Option<String> {
        self.as_ref().and_then(Element::text)
    }
}

impl Element for Time {
    fn text(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

macro_rules! as_they_print {
    ($($kind:ty)+) => {
        $(impl Element for $kind {
            fn text(&self) -> Option<String> {
                Some(self.to_string())
            }
        })+
    };
}

as_they_print! { &str String i32 i64 bool }

#[cfg(test)]
mod tests {
    use super::Column;

    #[test]
    fn a_column_is_quoted() {
        let words = vec![Some("a\"b\\c,{}"), None, Some(""), Some("NULL")];
        assert_eq!(words.literal(), r#"{"a\"b\\c,{}",NULL,"","NULL"}"#);
        assert_eq!(vec![Some(-7_i64), None].literal(), r#"{"-7",NULL}"#);
        assert_eq!(vec![true, false].literal(), r#"{"true","false"}"#);
    }
}
