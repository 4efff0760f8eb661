//! Query parameters of events, grouped by name (H-EV2-8, H-EV1-7).

use std::borrow::Cow;

use crate::percent::query_parameters;

/// Parameters by name in the order of each name's first appearance, values in the order of the request.
pub(super) struct Grouped<'q> {
    /// All values of a name side by side.
    parameters: Vec<(Cow<'q, str>, Cow<'q, str>)>,
}

impl<'q> Grouped<'q> {
    /// The parameters of a raw query. Sorting keeps this from being slow for thousands of names.
    pub(super) fn of(query: Option<&'q str>) -> Self {
        let parameters: Vec<_> = query_parameters(query.unwrap_or_default()).collect();
        if parameters.len() < 2 {
            return Self { parameters };
        }
        let mut by_name: Vec<_> = parameters.into_iter().enumerate().collect();
        by_name.sort_by(|(_, (one, _)), (_, (other, _))| one.cmp(other));
        let mut places = Vec::with_capacity(by_name.len());
        for (index, (place, (name, _))) in by_name.iter().enumerate() {
            let first = match index.checked_sub(1) {
                Some(before) if by_name[before].1.0 == *name => places[before],
                _ => *place,
            };
            places.push(first);
        }
        let mut ordered: Vec<_> = places.into_iter().zip(by_name).collect();
        ordered.sort_by_key(|(first, (place, _))| (*first, *place));
        Self { parameters: ordered.into_iter().map(|(_, (_, parameter))| parameter).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    /// Each name with its values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, impl DoubleEndedIterator<Item = &str>)> {
        let groups = self.parameters.chunk_by(|(one, _), (other, _)| one == other);
        groups.map(|group| (&*group[0].0, group.iter().map(|(_, value)| &**value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_their_first_appearance() {
        let grouped = Grouped::of(Some("b=1&a=1&b=2&c=&%61=3&b=0"));
        let read: Vec<_> =
            grouped.iter().map(|(name, values)| format!("{name}={}", values.collect::<Vec<_>>().join("|"))).collect();
        assert_eq!(read, ["b=1|2|0", "a=1|3", "c="]);
        assert!(Grouped::of(None).is_empty());
        assert!(Grouped::of(Some("&&")).is_empty());
        assert_eq!(Grouped::of(Some("x")).iter().count(), 1);
    }
}
