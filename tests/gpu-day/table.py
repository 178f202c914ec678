#!/usr/bin/env python3
"""Joins a script's rows with the predictions and prints one table; fails if a row is red.

    table.py ROWS.tsv PREDICTIONS.tsv

A row is: status, what or key, value, unit, detail. Ratios are measured / predicted, against the
nearer end of a predicted range, 1.00 inside it; a MISS is off by more than 1.5 either way and wants
an explanation, but is not red.
"""

import sys

MISS = 1.5


def read(path, columns):
    """The lines of a table of tabs, filled up to so many columns."""
    with open(path, encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines if not line.startswith("#")]
    return [row + [""] * (columns - len(row)) for row in rows if row != [""]]


def ratio(value, low, high):
    """How far a value is from a range."""
    return value / low if value < low else value / high if value > high else 1.0


def compared(key, value, unit, detail, predictions):
    """A measured row's cells."""
    if key not in predictions:
        return [key, "", f"{value} {unit}", "", "", detail]
    low, high, unit_there, what = predictions[key]
    if unit != unit_there:
        sys.exit(f"{key} is in {unit}, predictions.tsv has {unit_there}")
    predicted = f"{low} {unit}" if low == high else f"{low} to {high} {unit}"
    off = ratio(float(value), float(low), float(high))
    verdict = "ok" if 1 / MISS <= off <= MISS else "MISS"
    return [what, predicted, f"{value} {unit}", f"{off:.2f}", verdict, detail]


def main():
    predictions = {key: rest for key, *rest in read(sys.argv[2], 5)}
    rows = read(sys.argv[1], 5)
    table = [["what", "predicted", "measured", "ratio", "", "detail"]]
    for status, what, value, unit, detail in rows:
        if status == "measured":
            table.append(compared(what, value, unit, detail, predictions))
        else:
            mark = {"red": "RED", "note": ""}.get(status, status)
            table.append([what, "", "", "", mark, detail])
    widths = [max(len(row[i]) for row in table) for i in range(5)]
    for *cells, detail in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths))
        print(f"{line}  {detail}".rstrip())
    n_red = sum(row[0] == "red" for row in rows)
    if n_red or not rows:
        print(f"\n{n_red} of {len(rows)} rows are red")
        sys.exit(1)
    print(f"\nno row of {len(rows)} is red")


main()
