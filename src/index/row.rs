//! A row's bytes: entry and base, and one byte behind them when the row's standing is not the
//! ordinary one.

use super::{IndexError, error::encode};
use crate::model::entry::{Row, Standing};

const IGNORED: u8 = 1;
const UNKNOWN: u8 = 2;

/// The bytes of a row.
pub fn encode_row(row: &Row) -> Vec<u8> {
    let mut bytes = encode(row);
    match row.standing {
        Standing::Known => {}
        Standing::Ignored => bytes.push(IGNORED),
        Standing::Unknown => bytes.push(UNKNOWN),
    }
    bytes
}

/// A row from its bytes.
pub fn decode_row(bytes: &[u8]) -> Result<Row, IndexError> {
    let (row, rest) =
        postcard::take_from_bytes::<Row>(bytes).map_err(|_| IndexError::Corrupt("row"))?;
    let standing = match rest {
        [] => Standing::Known,
        [IGNORED] => Standing::Ignored,
        [UNKNOWN] => Standing::Unknown,
        _ => return Err(IndexError::Corrupt("row")),
    };
    Ok(Row { standing, ..row })
}
