//! Claims against records: held, refuted, or not shown here.
