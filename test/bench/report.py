# SPDX-License-Identifier: Apache-2.0
"""Figures of several kinds of agent, side by side: as Markdown, JSON and SVG."""

import html
import json
import statistics


MORE_IS_BETTER = ("delivered, %", "answers", "runs a second")


def usable(values):
    return [value for value in values if value is not None]


def short(value):
    """Three significant digits, without an exponent."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def cell(values):
    """The median, and the spread of several runs; runs that did not get there are counted."""
    reached = usable(values)
    if not reached:
        return f"not reached in {len(values)} of {len(values)}" if values else ""
    text = short(statistics.median(reached))
    if len(reached) > 1:
        text += f" ({short(min(reached))} to {short(max(reached))})"
    if len(reached) < len(values):
        text += f"; not reached in {len(values) - len(reached)} of {len(values)}"
    return text


def median(values):
    """None when fewer than half of the runs got there."""
    reached = usable(values)
    return statistics.median(reached) if reached and 2 * len(reached) >= len(values) else None


def ratio(ours, theirs):
    ours, theirs = median(ours), median(theirs)
    return ours / theirs if ours is not None and theirs else None


def ratio_text(value):
    if value is None:
        return ""
    return f"1/{short(1 / value)}" if 0 < value < 0.5 else short(value)


class Report:
    """`figures`: {figure: {kind name: [values]}}, in the order in which they were measured."""

    def __init__(self, about, kinds):
        self.about = about  # [(what, value)]
        self.kinds = kinds
        self.figures = {}
        self.others = {}  # {measure: {kind name: share of the machine that others used, %}}

    def keep(self, text):
        """Takes over what an earlier report wrote as JSON; what is added replaces it."""
        earlier = json.loads(text)
        for figure in earlier["figures"]:
            self.figures[figure["figure"]] = figure["values"]
        self.others = earlier["others_percent"]
        self.about = [(what, f'{earlier["about"][what]}, then {value}' if what == "command" else value)
                      for what, value in self.about]

    def add(self, measure, kind, figures, others):
        for figure, values in figures.items():
            self.figures.setdefault(figure, {})[kind.name] = values
        self.others.setdefault(measure, {})[kind.name] = others

    def ratio(self, figure):
        """The last kind's median to the first's."""
        values = self.figures[figure]
        if len(self.kinds) < 2 or any(kind.name not in values for kind in self.kinds):
            return None
        return ratio(values[self.kinds[-1].name], values[self.kinds[0].name])

    def markdown(self):
        lines = ["# Side by side", ""]
        lines += [f"- {what}: {value}" for what, value in self.about]
        lines += ["", "Medians, and the smallest and largest of several runs. The ratio is that of the "
                  "medians.", ""]
        labels = [kind.label for kind in self.kinds]
        lines.append("| figure | " + " | ".join(labels) + " | ratio |")
        lines.append("| --- |" + " ---: |" * (len(labels) + 1))
        for figure, values in self.figures.items():
            cells = [cell(values.get(kind.name, [])) for kind in self.kinds]
            lines.append(f"| {figure} | " + " | ".join(cells) +
                         f" | {ratio_text(self.ratio(figure))} |")
        lines += ["", "Processor time that others used meanwhile, % of the machine: " +
                  "; ".join(f"{measure} " + ", ".join(short(value) for value in shares.values())
                            for measure, shares in self.others.items()) + ".", ""]
        return "\n".join(lines)

    def json(self):
        figures = [{"figure": figure, "values": values, "ratio": self.ratio(figure),
                    "medians": {name: median(list_) for name, list_ in values.items()}}
                   for figure, values in self.figures.items()]
        return json.dumps({"about": dict(self.about), "figures": figures,
                           "others_percent": self.others}, indent=1) + "\n"

    def svg(self):
        """A bar for each ratio, on a logarithmic axis: to the left, less than the first kind. Green is
        better, or as good."""
        import math
        bars = [(figure, self.ratio(figure)) for figure in self.figures]
        bars = [(figure, value) for figure, value in bars if value]
        row, left, width, top = 22, 430, 420, 60
        least = min([math.floor(math.log10(value)) for _, value in bars] + [-1])
        most = max([math.ceil(math.log10(value)) for _, value in bars] + [1])
        scale = width / (most - least)
        height = top + row * len(bars) + 30

        def across(value):
            return left + (math.log10(value) - least) * scale
        first, last = self.kinds[0].label, self.kinds[-1].label
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" '
                 f'height="{height}" font-family="sans-serif" font-size="12">',
                 '<rect width="100%" height="100%" fill="white"/>',
                 f'<text x="10" y="22" font-size="15">{html.escape(last)} as a share of '
                 f'{html.escape(first)} (logarithmic; medians)</text>']
        for power in range(least, most + 1):
            x = across(10 ** power)
            parts.append(f'<line x1="{x:.1f}" y1="{top - 10}" x2="{x:.1f}" y2="{height - 25}" '
                         f'stroke="{"#444" if power == 0 else "#ddd"}"/>')
            parts.append(f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">'
                         f'{short(10.0 ** power)}</text>')
        for place, (figure, value) in enumerate(bars):
            y = top + place * row
            begin, end = sorted((across(1), across(value)))
            parts.append(f'<text x="{left - 10}" y="{y + 12}" text-anchor="end">'
                         f'{html.escape(figure)}</text>')
            more = any(text in figure for text in MORE_IS_BETTER)
            better = value >= 1 if more else value <= 1
            parts.append(f'<rect x="{begin:.1f}" y="{y}" width="{max(end - begin, 1):.1f}" '
                         f'height="15" fill="{"#2a7" if better else "#c63"}"/>')
            parts.append(f'<text x="{max(end, across(1)) + 5:.1f}" y="{y + 12}">'
                         f'{ratio_text(value)}</text>')
        return "\n".join(parts + ["</svg>", ""])
