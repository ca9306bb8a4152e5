//! A table without lines: columns two spaces apart, headings in capitals.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use edged_rpc::Page;

/// Rows under headings; a heading that begins with `>` is set right.
pub(super) fn table<const N: usize>(
    headings: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.map(|heading| heading.trim_start_matches('>')));
    for row in rows {
        table.add_row(row);
    }
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if heading.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// `5 segments (showing 5 of 5)`, and how to see more.
pub(super) fn footer<T>(page: &Page<T>, one: &str, many: &str) -> String {
    let (total, shown) = (page.total, page.items.len());
    let noun = if total == 1 { one } else { many };
    let mut footer = format!("{total} {noun} (showing {shown} of {total})\n");
    if let Some(next) = &page.next {
        footer += &format!("more: --after {}\n", super::plain(next));
    }
    footer
}
