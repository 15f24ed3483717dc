//! What Bartizan's layers cost. See `benches/`.
