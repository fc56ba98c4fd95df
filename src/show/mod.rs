//! Pure renderers: records and findings in, text out.
