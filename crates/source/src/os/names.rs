//! The names of one directory.

use std::ffi::CStr;

/// The names of one directory, packed into one buffer: a million of them take little more than their
/// bytes.
#[derive(Debug, Default)]
pub(crate) struct NameList {
    /// Each name with its terminating NUL, as the OS wants it back.
    bytes: Vec<u8>,
    /// The first eight bytes of each name, which nearly always decide the order, and where it starts.
    order: Vec<(u64, usize)>,
}

impl NameList {
    /// Adds a name; `.` and `..` are not names.
    pub(crate) fn push(&mut self, name: &CStr) {
        let bytes = name.to_bytes();
        if bytes != b"." && bytes != b".." {
            self.order.push((leading(bytes), self.bytes.len()));
            self.bytes.extend_from_slice(name.to_bytes_with_nul());
        }
    }

    /// Puts the names into byte order: manifest order within one directory.
    pub(crate) fn sort(&mut self) {
        let Self { bytes, order } = self;
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| name_at(bytes, a.1).cmp(name_at(bytes, b.1))));
    }

    /// Whether a name is among them, once they are sorted.
    pub(crate) fn contains(&self, name: &CStr) -> bool {
        let wanted = (leading(name.to_bytes()), name);
        self.order.binary_search_by(|&(leading, start)| (leading, name_at(&self.bytes, start)).cmp(&wanted)).is_ok()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.order.clear();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.order.iter().map(|&(_, start)| name_at(&self.bytes, start))
    }
}

fn name_at(bytes: &[u8], start: usize) -> &CStr {
    CStr::from_bytes_until_nul(&bytes[start..]).unwrap_or_default()
}

/// Compares as the name does as far as it reaches, because no name contains NUL.
fn leading(name: &[u8]) -> u64 {
    let mut first = [0; 8];
    let len = name.len().min(8);
    first[..len].copy_from_slice(&name[..len]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    #[test]
    fn names_come_in_byte_order() {
        let names: [&[u8]; 9] =
            [b"a-", b"a", b"longer than eight b", b"longer than eight", b"\xff", b"..", b"\n", b".", b"longer t"];
        let mut list = NameList::default();
        for name in names {
            list.push(&CString::new(name).unwrap());
        }
        list.sort();
        let mut expected: Vec<&[u8]> = names.into_iter().filter(|name| *name != b"." && *name != b"..").collect();
        expected.sort();
        assert_eq!(list.iter().map(CStr::to_bytes).collect::<Vec<_>>(), expected);
    }
}
