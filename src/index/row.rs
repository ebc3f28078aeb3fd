//! A row's bytes: entry and base, and one byte behind them when the row's standing is not the
//! ordinary one, or what was seen proves nothing.

use super::{IndexError, error::encode};
use crate::model::entry::{Row, Standing};

const IGNORED: u8 = 1;
const UNKNOWN: u8 = 2;
const MISSING: u8 = 3;
/// Added to one of these, or alone.
const DOUBTED: u8 = 4;

/// The bytes of a row.
pub fn encode_row(row: &Row) -> Vec<u8> {
    let mut bytes = encode(row);
    let standing = match row.standing {
        Standing::Known => None,
        Standing::Ignored => Some(IGNORED),
        Standing::Unknown => Some(UNKNOWN),
        Standing::Missing => Some(MISSING),
    };
    let is_marked_for_reread = row.base.as_ref().is_some_and(|base| base.seen.proof().is_none());
    let doubted = is_marked_for_reread.then_some(DOUBTED);
    bytes.extend(standing.into_iter().chain(doubted).reduce(|a, b| a | b));
    bytes
}

/// A row from its bytes.
pub fn decode_row(bytes: &[u8]) -> Result<Row, IndexError> {
    const CORRUPT: IndexError = IndexError::Corrupt("row");
    let (mut row, rest) = postcard::take_from_bytes::<Row>(bytes).map_err(|_| CORRUPT)?;
    let mark = match rest {
        [] => return Ok(row),
        [mark] => *mark,
        _ => return Err(CORRUPT),
    };
    row.standing = match mark & !DOUBTED {
        IGNORED => Standing::Ignored,
        UNKNOWN => Standing::Unknown,
        MISSING => Standing::Missing,
        0 if mark == DOUBTED => Standing::Known,
        _ => return Err(CORRUPT),
    };
    if mark & DOUBTED != 0 {
        let base = row.base.as_mut().ok_or(CORRUPT)?;
        base.seen = base.seen.unproven();
    }
    Ok(row)
}
