//! Restores that an operator can trust: in place, by exchange, interrupted, against damage and hostility.

mod exchange;
mod in_place;
mod kill;
mod random;
mod selecting;
mod trouble;
mod verify;
