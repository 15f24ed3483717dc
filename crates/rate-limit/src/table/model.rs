//! What threads may do to each other, in every order.

use super::*;
use loom::sync::Arc;
use loom::thread;

fn key(print: u64) -> Key {
    Key::from_u128(u128::from(print) << 64)
}

/// Spends one unit of at most `limit`.
fn spend(table: &Table, print: u64, limit: u64) -> bool {
    let (before, after) = table.update(key(print), 0, 100, |arrival| (arrival + 1).min(limit));
    after > before
}

/// Two threads bring the same new key: it gets one slot, and its quota once.
#[test]
fn one_key_has_one_quota() {
    loom::model(|| {
        let table = Arc::new(Table::new(SET));
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || u64::from(spend(&table, 7, 1)))
        };
        let spent = u64::from(spend(&table, 7, 1)) + other.join().unwrap();
        assert_eq!(spent, 1);
        assert_eq!(table.live(0), 1);
    });
}

/// One thread spends on a key while another key takes its slot: what was spent is not lost, and
/// the slot is never owned by both.
#[test]
fn a_slot_changes_hands_whole() {
    loom::model(|| {
        let table = Arc::new(Table::new(SET));
        // Three slots are out of reach, so that both keys want the fourth.
        for print in 1..=3 {
            table.update(key(print), 0, 100, |_| 100);
        }
        assert!(spend(&table, 8, 2));
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || u64::from(spend(&table, 9, 3)))
        };
        let mine = u64::from(spend(&table, 8, 3));
        let theirs = other.join().unwrap();
        // The slot has three units, whoever spends them: one was spent before.
        assert_eq!(mine + theirs, 2);
        assert!(!spend(&table, 8, 3) && !spend(&table, 9, 3));
    });
}

/// One thread spends on a key while a newcomer brings its debt down: neither is lost, and it ends.
#[test]
fn a_debt_that_cannot_be_goes_down_once() {
    loom::model(|| {
        let table = Arc::new(Table::new(SET));
        for print in [8, 1, 2, 3] {
            table.update(key(print), 0, 100, |_| 100);
        }
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                table.update(key(9), 0, 10, |arrival| arrival.min(10));
            })
        };
        table.update(key(8), 0, 10, |arrival| arrival.min(10) - 1);
        other.join().unwrap();
        assert_eq!(table.peek(key(8)), 9);
    });
}

/// One thread spends on a key while another key takes its slot, and a third slot would know
/// nothing of it: what was spent is still owed afterwards.
#[test]
fn no_debt_goes_astray() {
    loom::model(|| {
        let table = Arc::new(Table::new(SET));
        for (print, arrival) in [(8, 1), (7, 1), (2, 100), (3, 100)] {
            table.update(key(print), 0, 100, |_| arrival);
        }
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || spend(&table, 9, 50))
        };
        assert!(spend(&table, 8, 50));
        other.join().unwrap();
        assert!(table.peek(key(8)) >= 2);
    });
}
