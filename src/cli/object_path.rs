//! An object as it is typed: `order/42`. What the parts may hold is the server's to judge.

use crate::grpc::v1::ObjectRef;

/// The name ends at the first slash, for a name holds none; the id may hold any.
pub(crate) fn parse_object(text: &str) -> Result<ObjectRef, String> {
    match text.split_once('/') {
        Some((name, id)) if !name.is_empty() && !id.is_empty() => {
            Ok(ObjectRef { object_name: name.to_owned(), object_id: id.to_owned() })
        }
        Some(_) | None => Err("must look like NAME/ID, as order/42".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_everything_after_the_first_slash() {
        let object = parse_object("crm.Order/a/../%2F=b").unwrap();
        assert_eq!(object.object_name, "crm.Order");
        assert_eq!(object.object_id, "a/../%2F=b");
        for bad in ["", "order", "order/", "/42"] {
            assert!(parse_object(bad).is_err(), "{bad}");
        }
    }
}
