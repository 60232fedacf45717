//! Cursors, by which a caller continues a search: opaque, signed, and bound to the caller and to
//! the search criteria.

use domain::{OrderId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use service::error::Error;
use sha2::Sha256;
use store::{CursorKey, Place, Progress, Store};

/// The maximum length of a cursor that is parsed; longer than any that this service issues.
const MAX_LENGTH: usize = 2_000;

const MAC_LENGTH: usize = 32;

/// The length of a key's name, such as `2026-11`.
const NAME_LENGTH: usize = 7;

/// Creates and opens the cursors of one caller's search.
pub(crate) struct Cursors<'a> {
    pub(crate) store: &'a Store,
    pub(crate) now: Timestamp,
    /// A hash of the caller and of the search criteria.
    pub(crate) search: String,
}

impl Cursors<'_> {
    /// A cursor for this progress, signed with the current month's key.
    pub(crate) async fn seal(&self, progress: &[Progress]) -> Result<String, Error> {
        let name = &self.now.to_string()[..NAME_LENGTH];
        let key = self.store.cursor_key_or_new(name, self.now).await?;
        let text = format!("{name}{}", written(progress));
        let mac = self.mac(&key, &text).finalize().into_bytes();
        Ok(in_letters(text.as_bytes()) + &in_letters(&mac))
    }

    /// The progress in a cursor of the same search; `None` for anything else.
    pub(crate) async fn open(
        &self,
        cursor: &str,
        lists: usize,
    ) -> Result<Option<Vec<Progress>>, Error> {
        let Some((text, mac)) = parts(cursor) else {
            return Ok(None);
        };
        let Some((name, progress)) = text.split_at_checked(NAME_LENGTH) else {
            return Ok(None);
        };
        let Some(key) = self.store.cursor_key(name, self.now).await? else {
            return Ok(None);
        };
        if self.mac(&key, &text).verify_slice(&mac).is_err() {
            return Ok(None);
        }
        Ok(read(progress).filter(|progress| progress.len() == lists))
    }

    fn mac(&self, key: &CursorKey, text: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
        // All hashes have the same length, so no two pairs of hash and text have the same signed
        // form.
        mac.update(self.search.as_bytes());
        mac.update(text.as_bytes());
        mac
    }
}

fn parts(cursor: &str) -> Option<(String, Vec<u8>)> {
    if cursor.len() > MAX_LENGTH {
        return None;
    }
    let mut bytes = from_letters(cursor)?;
    let mac = bytes.split_off(bytes.len().checked_sub(MAC_LENGTH)?);
    Some((String::from_utf8(bytes).ok()?, mac))
}

fn written(progress: &[Progress]) -> String {
    let each = progress.iter().map(|progress| match progress {
        Progress::Start => "/".to_owned(),
        Progress::End => "/-".to_owned(),
        Progress::Behind(place) => format!("/{}.{}", place.at.millis(), place.order),
    });
    each.collect()
}

fn read(text: &str) -> Option<Vec<Progress>> {
    let each = text.strip_prefix('/')?.split('/');
    let each = each.map(|part| match part {
        "" => Some(Progress::Start),
        "-" => Some(Progress::End),
        place => {
            let (at, order) = place.split_once('.')?;
            Some(Progress::Behind(Place {
                at: Timestamp::from_millis(at.parse().ok()?),
                order: OrderId::parse(order).ok()?,
            }))
        }
    });
    each.collect()
}

/// Two letters per byte. With digits, a cursor could look like a card number, which no request may
/// contain.
fn in_letters(bytes: &[u8]) -> String {
    let letters = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    letters.map(|half| char::from(b'a' + half)).collect()
}

fn from_letters(text: &str) -> Option<Vec<u8>> {
    let half = |letter: u8| letter.checked_sub(b'a').filter(|half| *half < 16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some((half(*high)? << 4) | half(*low)?));
    rest.is_empty().then(|| bytes.collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_as_it_was_written() {
        let place = Place {
            at: Timestamp::from_millis(1_795_428_725_000),
            order: OrderId::from_time(1, [7; 10]),
        };
        for progress in [
            vec![Progress::Start],
            vec![Progress::Behind(place.clone())],
            vec![
                Progress::End,
                Progress::Start,
                Progress::Behind(place),
                Progress::End,
            ],
        ] {
            assert_eq!(read(&written(&progress)), Some(progress));
        }
        for wrong in ["", "x", "/x", "/1.", "/.ord_1", "/1.ord_1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn letters_hold_every_byte() {
        let bytes: Vec<u8> = (0..=255).collect();
        let letters = in_letters(&bytes);
        assert!(letters.bytes().all(|letter| letter.is_ascii_lowercase()));
        assert_eq!(from_letters(&letters), Some(bytes));
        for wrong in ["a", "aq", "aA", "a1", "ä"] {
            assert_eq!(from_letters(wrong), None, "{wrong}");
        }
    }
}
