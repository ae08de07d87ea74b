"""Reads a rendered site for what no reader should meet: marks that Quarto left, links that lead nowhere, pictures without words.

    nbdev_docs 2>&1 | tee render.log; python .ci/check_site.py _docs render.log
"""
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

MARKS = {':::': 'a div that was not rendered', '?@': 'a cross-reference that was not resolved', '[@': 'a citation that was not resolved', '[-@': 'a citation that was not resolved',
         '{#eq-': 'the label of an equation', '{#fig-': 'the label of a figure', '{#refs}': 'a list of references that was not made', '#| ': 'a directive'}
WARNING = re.compile(r'^\s*(?:\x1b\[[\d;]*m)?(?:\[?WARN(?:ING)?\]?|ERROR)\b.*$', flags=re.M)


class Page(HTMLParser):
    "Text outside of code and scripts, ids, local links, and pictures without alternative text."

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text, self.ids, self.links, self.mute, self.silent = [], set(), [], [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in ('script', 'style', 'pre', 'code'): self.silent.append(tag)
        if given.get('id'): self.ids.add(given['id'])
        self.links += [given[name] for name in ('href', 'src') if given.get(name)]
        if tag == 'img' and not given.get('alt'): self.mute.append(given.get('src', '?')[:60])

    def handle_endtag(self, tag):
        if self.silent and self.silent[-1] == tag: self.silent.pop()

    def handle_data(self, data):
        if not self.silent: self.text.append(data)


def faults(site: Path):
    "Every fault of the pages in a folder."
    pages = {}
    for path in sorted(site.rglob('*.html')):
        pages[path.resolve()] = page = Page()
        page.feed(path.read_text(encoding='utf-8'))
    if not pages: yield f'{site} holds no pages'
    for path, page in pages.items():
        name, text = path.relative_to(site.resolve()), ' '.join(page.text)
        for mark, what in MARKS.items():
            if mark in text: yield f"{name}: {what}: ...{text[max(0, text.index(mark) - 30):text.index(mark) + 40].strip()!r}"
        for source in page.mute: yield f'{name}: picture {source} without alt text'
        for link in sorted(set(page.links)):
            if re.match(r'[a-z][a-z0-9+.-]*:|//', link) or name.name == '404.html': continue
            file, _, anchor = link.partition('#')
            goal = (path.parent / unquote(file.partition('?')[0])).resolve() if file else path
            if goal.is_dir(): goal = goal / 'index.html'
            if not goal.exists(): yield f'{name}: {link} does not exist'
            elif anchor and goal in pages and unquote(anchor) not in pages[goal].ids | {'', 'top'}: yield f'{name}: {link}: no such anchor'


if __name__ == '__main__':
    folder, *logs = map(Path, sys.argv[1:] or ['_docs'])
    problems = list(faults(folder)) + [f'{log}: {m[0].strip()}' for log in logs for m in WARNING.finditer(log.read_text(encoding='utf-8', errors='replace'))]
    print('\n'.join(problems) or 'site: no fault found')
    sys.exit(bool(problems))
