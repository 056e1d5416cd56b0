//! Which events of a history a reader wants.

use std::collections::HashSet;

use crate::domain::InvalidValue;
use crate::domain::limits::check_text;

/// Types and beginnings of types; nothing of either means every event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    types: HashSet<String>,
    prefixes: Vec<String>,
}

/// The most types, and the most prefixes, of one filter.
pub const FILTER_ENTRIES_MAX: usize = 100;

impl EventFilter {
    pub fn new(types: Vec<String>, prefixes: Vec<String>) -> Result<Self, InvalidValue> {
        for (field, entries) in [("event_types", &types), ("event_type_prefixes", &prefixes)] {
            if entries.len() > FILTER_ENTRIES_MAX {
                let problem =
                    format!("has {} entries, the limit is {FILTER_ENTRIES_MAX}", entries.len());
                return Err(InvalidValue::new(field, problem));
            }
            for (index, entry) in entries.iter().enumerate() {
                check_text(&format!("{field}[{index}]"), entry, false)?;
            }
        }
        Ok(Self { types: types.into_iter().collect(), prefixes })
    }

    pub fn matches_all(&self) -> bool {
        self.types.is_empty() && self.prefixes.is_empty()
    }

    pub fn matches(&self, event_type: &str) -> bool {
        self.matches_all()
            || self.types.contains(event_type)
            || self.prefixes.iter().any(|prefix| event_type.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(types: &[&str], prefixes: &[&str]) -> Result<EventFilter, InvalidValue> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        EventFilter::new(owned(types), owned(prefixes))
    }

    #[test]
    fn an_event_matches_any_entry_and_no_entry_matches_all() {
        let some = filter(&["Paid"], &["Order", "x."]).unwrap();
        for (event_type, expected) in [
            ("Paid", true),
            ("PaidLate", false),
            ("Order", true),
            ("OrderPlaced", true),
            ("order", false),
            ("x.y", true),
        ] {
            assert_eq!(some.matches(event_type), expected, "{event_type}");
            assert!(filter(&[], &[]).unwrap().matches(event_type));
        }
    }

    #[test]
    fn what_no_event_could_match_is_refused() {
        assert_eq!(filter(&["a", ""], &[]).unwrap_err().field, "event_types[1]");
        assert_eq!(filter(&[], &["a\n"]).unwrap_err().field, "event_type_prefixes[0]");
        let many = vec!["a"; FILTER_ENTRIES_MAX + 1];
        assert_eq!(filter(&[], &many).unwrap_err().field, "event_type_prefixes");
    }
}
