"""Checks the notebooks, the other pages and the processed docs (`_proc/`) for what makes Quarto fail or warn, or a page look broken.

Completes `_proc/` first, as the site's workflow does (`pages.py`), so that what is checked is what will be rendered. Each function yields
one line per fault; the program prints them and exits with 1 if there is any.
"""
import ast
import json
import re
import sys
from collections import Counter
from pathlib import Path

import yaml

import pages

ROOT = Path(__file__).resolve().parent.parent
NBS, PROC = ROOT / 'nbs', ROOT / '_proc'
WORDS = {'export', 'exporti', 'exports', 'hide', 'default_exp', 'slow', 'cuda', 'hide_input', 'hide_output', 'exercise', 'check', 'wrong_solutions'}
PICTURES = ('image/png', 'image/jpeg', 'image/gif', 'image/svg+xml')
KINDS = ('fig', 'tbl', 'eq', 'sec', 'lst')
DIRECTIVE = re.compile(r'^#\|\s*(?P<name>[\w-]+)(?P<colon>:?)\s*(?P<value>.*)$')
LINK = re.compile(r'(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)(?:\s+"[^"]*")?\)')
REFERENCE = re.compile(r'(?<![\w`\\/.@])@\{?(?P<key>[A-Za-z0-9_](?:[\w:.#%&+?~/-]*\w)?)')
EQUATION = re.compile(r'(?:(?<=\n\n)|\A)\$\$(?:(?!\$\$).)+\$\$ \{#(?P<label>eq-[\w-]+)\}(?=\s*(?:\n\n|\Z))', flags=re.S)
ENTRY = re.compile(r'^@(?P<kind>\w+)\{(?P<key>[^,\s]+),\n(?P<fields>.*?)^\}', flags=re.S | re.M)


def cells(path: Path) -> list[dict]:
    "The cells of one notebook, each with its source as one string; a page of Markdown is one cell."
    if path.suffix == '.qmd': return [{'cell_type': 'markdown', 'source': re.sub(r'\A---\n.*?\n---\n', '', path.read_text(encoding='utf-8'), flags=re.S)}]
    found = json.loads(path.read_text(encoding='utf-8'))['cells']
    return [{**cell, 'source': ''.join(cell['source'])} for cell in found]


def no_code(text: str) -> str:
    "Markdown without its code and comments, so that nothing in them is taken for a link or a citation."
    return re.sub(r'<!--.*?-->|`[^`\n]*`', '', re.sub(r'^(```|~~~).*?^\1[^\n]*$', '', text, flags=re.S | re.M), flags=re.S)


def prose(text: str) -> str:
    "Markdown without code and mathematics."
    return re.sub(r'\$\$.*?\$\$|\$[^$\n]+\$', '', no_code(text), flags=re.S)


def shown(cell: dict) -> list[str]:
    "The Markdown that a cell puts on the page: its own, or that of its outputs."
    if cell['cell_type'] == 'markdown': return [cell['source']]
    return [''.join(o['data']['text/markdown']) for o in cell.get('outputs', []) if 'text/markdown' in o.get('data', {})]


def directives(cell: dict) -> list[re.Match]:
    "The `#|` lines of a code cell."
    return [m for line in cell['source'].split('\n') if (m := DIRECTIVE.match(line))]


def slug(heading: str) -> str:
    "The anchor that Pandoc gives a heading."
    text = re.sub(r'[`*_]|\{.*?\}', '', heading).strip().lower()
    text = re.sub(r'[^\w\s.-]', '', text)
    return re.sub(r'^[^a-z]+', '', re.sub(r'\s+', '-', text))


def anchors(path: Path) -> set[str]:
    "Every anchor a page offers: headings, its own and those of its outputs, explicit ids and figure labels."
    found = set()
    for cell in cells(path):
        for text in shown(cell):
            for m in re.finditer(r'^#{1,6}\s+(.+?)\s*$', text, flags=re.M): found.add(slug(m[1]))
            found.update(re.findall(r'\{#([\w-]+)', text))
            found.update(re.findall(r'\bid="([\w-]+)"', text))
        if cell['cell_type'] == 'code':
            found.update(m['value'].strip() for m in directives(cell) if m['name'] == 'label')
            found.update(m[1].lower() for m in re.finditer(r'^(?:class|def)\s+(\w+)', cell['source'], flags=re.M))
    return found


def check_directives(path: Path):
    "Mixed, misspelt or ineffective directives in the source notebook."
    for i, cell in enumerate(cells(path)):
        if cell['cell_type'] != 'code': continue
        lines, found = cell['source'].split('\n'), directives(cell)
        words = [m['name'] for m in found if not m['colon']]
        options = [m['name'] for m in found if m['colon']]
        where = f'{path.name} cell {i}'
        if words and options: yield f'{where}: directive {words} and Quarto option {options} in one cell'
        for word in set(words) - WORDS: yield f'{where}: unknown directive #| {word}'
        for option in set(options) & WORDS: yield f'{where}: directive #| {option} with a colon swallows the next line'
        first_code = next((k for k, line in enumerate(lines) if line.strip() and not line.startswith('#|')), len(lines))
        if any(line.startswith('#|') for line in lines[first_code:]): yield f'{where}: a directive below code has no effect'
        for m in found:
            if m['name'] == 'default_exp' or not m['colon']: continue
            try: yaml.safe_load(f"{m['name']}: {m['value']}")
            except yaml.YAMLError as e: yield f"{where}: option {m['name']} is not valid YAML ({e.__class__.__name__})"


def check_imports(path: Path):
    "Cells that nbdev would execute for the docs although they do work: it runs every cell in which an import stands."
    for i, cell in enumerate(cells(path)):
        if cell['cell_type'] != 'code' or any(m['name'] in ('export', 'exports', 'exporti') for m in directives(cell)): continue
        try: tree = ast.parse(re.sub(r'^\s*[%!].*$', 'pass', cell['source'], flags=re.M))
        except SyntaxError: continue
        if not any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree)): continue
        harmless = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
        if not all(isinstance(node, harmless) for node in tree.body): yield f'{path.name} cell {i}: imports and work in one cell'


def check_title(path: Path):
    "A first cell with more than title and subtitle: nbdev makes front matter of these two lines and drops the rest of the cell."
    found = cells(path)[0]
    lines = [line for line in found['source'].split('\n') if line.strip()]
    if found['cell_type'] != 'markdown' or len(lines) != 2 or not lines[0].startswith('# ') or not lines[1].startswith('> '):
        yield f'{path.name} cell 0: must be "# Title" and "> subtitle", a line each, and nothing else: the site would not show it'


def check_figures(path: Path):
    "Figures without label, caption or alternative text, and errors kept as outputs."
    for i, cell in enumerate(cells(path)):
        if cell['cell_type'] != 'code': continue
        where, options = f'{path.name} cell {i}', {m['name']: m['value'].strip().strip('"\'') for m in directives(cell)}
        outputs = cell.get('outputs', [])
        if any(kind in o.get('data', {}) for o in outputs for kind in PICTURES) and 'hide' not in options:
            for wanted in ('fig-cap', 'fig-alt'):
                if not options.get(wanted): yield f'{where}: a figure without #| {wanted}'
            if not options.get('label', '').startswith('fig-'): yield f'{where}: a figure without #| label: fig-..., so it has no number'
        for tag in re.findall(r'<img\b[^>]*>', ''.join(''.join(o['data']['text/html']) for o in outputs if 'text/html' in o.get('data', {}))):
            if not re.search(r'\balt="[^"]+"', tag): yield f'{where}: a picture in its HTML without alt text'
        if any(o['output_type'] == 'error' for o in outputs): yield f'{where}: an error is kept as its output'
        if any(o.get('name') == 'stderr' for o in outputs): yield f'{where}: stderr is kept in its output'


def labels_of(path: Path) -> list[str]:
    "What can be referred to on one page: labels of figures, and ids of equations, tables and sections."
    found = []
    for cell in cells(path):
        if cell['cell_type'] == 'code': found += [m['value'].strip() for m in directives(cell) if m['name'] == 'label']
        for text in shown(cell): found += re.findall(rf"\{{#((?:{'|'.join(KINDS)})-[\w-]+)", no_code(text))
    return found


def references(text: str) -> list[str]:
    "Every `@key` in a piece of Markdown: citations and cross-references."
    return [m['key'] for m in REFERENCE.finditer(prose(text))]


def check_references(path: Path, keys: set[str]):
    "Cross-references to what is not on the page, citations of what is not in references.bib, and a list of references that is missing or empty."
    here, cited, listed = set(labels_of(path)), False, False
    for i, cell in enumerate(cells(path)):
        for text in shown(cell):
            where, listed = f'{path.name} cell {i}', listed or '{#refs}' in text
            for key in references(text):
                if key.split('-')[0] in KINDS and '-' in key:
                    if key not in here: yield f'{where}: cross-reference @{key} is defined nowhere on this page'
                elif key not in keys: yield f'{where}: @{key} is not in references.bib (a backslash in front of @ makes it text)'
                else: cited = True
    if cited and not listed: yield f'{path.name}: cites, but has no "::: {{#refs}}" at its end'
    if listed and not cited and '@*' not in path.read_text(encoding='utf-8'): yield f'{path.name}: has a list of references and cites nothing'


def check_markup(path: Path):
    "Divs that do not open and close on lines of their own in one cell, labels of equations that Quarto would print, and unbalanced $$."
    for i, cell in enumerate(cells(path)):
        for text in shown(cell):
            where, depth, plain = f'{path.name} cell {i}', 0, no_code(text)
            lines = plain.split('\n')
            for k, line in enumerate(lines):
                if ':::' not in line: continue
                opens = re.fullmatch(r':{3,} ?(\{[^{}]*[#.][\w-][^{}]*\}|[\w-]+)', line)
                if not opens and not re.fullmatch(r':{3,}', line): yield f'{where}: {line.strip()!r} is neither the first nor the last line of a div'
                elif opens and k and lines[k - 1].strip() and not lines[k - 1].startswith(':::'): yield f'{where}: a div must have an empty line before {line!r}'
                depth += 1 if opens else -1
                if depth < 0: yield f'{where}: a ::: that closes nothing'; break
            if depth > 0: yield f'{where}: a ::: that is never closed'
            if plain.count('$$') % 2: yield f'{where}: a $$ without its partner'
            numbered = {m['label'] for m in EQUATION.finditer(plain)}
            for label in re.findall(r'\{#(eq-[\w-]+)', plain):
                if label not in numbered: yield f'{where}: {{#{label}}} must follow "$$ ", with the equation alone in its paragraph'


def bibliography() -> dict[str, dict]:
    "The entries of references.bib: key -> fields."
    text = (NBS / 'references.bib').read_text(encoding='utf-8')
    return {m['key']: {'kind': m['kind'], **dict(re.findall(r'^\s*(\w+) = \{(.*)\},$', m['fields'], flags=re.M))} for m in ENTRY.finditer(text)}


def check_bibliography(everything: list[Path]):
    "Entries that are double, incomplete, or used nowhere: neither cited on a page nor named with their year in a docstring."
    text, entries = (NBS / 'references.bib').read_text(encoding='utf-8'), bibliography()
    for key, n in Counter(re.findall(r'^@\w+\{([^,]+),', text, flags=re.M)).items():
        if n > 1: yield f'references.bib: {key} stands there {n} times'
        if key not in entries: yield f'references.bib: {key} cannot be read: one field a line, "  name = {{value}},"'
    cited = {key for path in everything for cell in cells(path) for shows in shown(cell) for key in references(shows)}
    sources = '\n'.join(cell['source'] for path in everything if path.suffix == '.ipynb' for cell in cells(path))
    for key, fields in entries.items():
        place = {'article': 'journal', 'techreport': 'institution', 'misc': 'eprint'}.get(fields['kind'], 'booktitle')
        for wanted in ('author', 'title', 'year', place):
            if not fields.get(wanted): yield f'references.bib: {key} has no {wanted}'
        if fields.get('year', '') not in key: yield f"references.bib: {key} is of the year {fields.get('year')}"
        if key not in cited and not re.search(rf"\b{re.escape(fields.get('author', '?').split(',')[0])}\b[^\n]{{0,40}}\b{fields.get('year')}", sources):
            yield f'references.bib: {key} is used nowhere'


def check_links(path: Path):
    "Links and images that lead nowhere, images without alternative text, and addresses of a repository that is not the one in settings.ini."
    home = pages.settings()['git_url']
    for i, cell in enumerate(cells(path)):
        for text in shown(cell):
            where = f'{path.name} cell {i}'
            for m in LINK.finditer(prose(text)):
                target = m['target']
                if m['image'] and not m['text'].strip(): yield f'{where}: picture {target} without alt text'
                if re.match(r'https://github\.com/[\w-]+/' + pages.settings()['repo'] + r'\b', target) and not target.startswith(home): yield f'{where}: {target} is not at {home}'
                if re.match(r'(https?|mailto|attachment):', target): continue
                file, _, anchor = target.partition('#')
                goal = path if not file else (path.parent / file)
                if not goal.exists(): yield f'{where}: {target} does not exist'
                elif anchor and goal.suffix in ('.ipynb', '.qmd') and anchor not in anchors(goal): yield f'{where}: no anchor #{anchor} in {goal.name}'


def check_processed(path: Path):
    "What is wrong with the page that Quarto reads: not there, directives of nbdev's or ours left, no links to the notebook, pictures that did not come along."
    page = PROC / path.name
    if not page.exists():
        yield f'{path.name}: was not processed'
        return
    for i, cell in enumerate(cells(page)):
        where = f'{path.name} (processed) cell {i}'
        for m in directives(cell) if cell['cell_type'] == 'code' else []:
            if not m['colon']: yield f"{where}: directive #| {m['name']} was left"
        for text in shown(cell):
            for m in LINK.finditer(prose(text)):
                if not re.match(r'(https?|mailto|attachment):|#', m['target']) and not (PROC / m['target'].partition('#')[0]).exists(): yield f"{where}: {m['target']} does not come along"
    if path.suffix == '.ipynb' and path.name != 'index.ipynb' and 'code-links:' not in cells(page)[0]['source']: yield f'{path.name} (processed): no links to Colab and download'


def check_front(path: Path):
    "A page of Markdown without title or description, or with front matter that is not YAML."
    found = re.match(r'---\n(.*?)\n---\n', path.read_text(encoding='utf-8'), flags=re.S)
    try: front = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error: yield f'{path.name}: front matter is not valid YAML ({error.__class__.__name__})'; return
    for wanted in ('title', 'description'):
        if not front.get(wanted): yield f'{path.name}: front matter has no {wanted}'


def check_yaml(listable: list[Path]):
    "The configuration files parse, name files that are there, and the sidebar lists exactly the pages there are."
    read = {}
    for file in (ROOT / '_quarto.yml', NBS / '_quarto.yml', NBS / 'sidebar.yml', NBS / 'site.yml', *sorted((ROOT / '.github').rglob('*.yml'))):
        try: read[file.relative_to(ROOT).as_posix()] = yaml.safe_load(file.read_text(encoding='utf-8'))
        except (OSError, yaml.YAMLError) as e: yield f'{file.relative_to(ROOT)}: {e}'
    if not {'_quarto.yml', 'nbs/sidebar.yml', 'nbs/site.yml'} <= set(read): return
    listed = re.findall(r'[\w/.-]+\.(?:ipynb|qmd)', json.dumps(read['nbs/sidebar.yml']))
    names = {p.name for p in listable} | {f'api/{name}.qmd' for name in pages.modules()} - {'404.qmd'}
    for missing in sorted(names - {'404.qmd'} - set(listed)): yield f'sidebar.yml: {missing} is not listed'
    for gone in sorted(set(listed) - names): yield f'sidebar.yml: {gone} does not exist'
    for twice in sorted({name for name in listed if listed.count(name) > 1}): yield f'sidebar.yml: {twice} is listed more than once'
    for name in re.findall(r'"([\w/-]+\.(?:bib|scss|svg|png|csl|css))"', json.dumps(read['nbs/site.yml'])):
        if not (NBS / name).exists(): yield f'site.yml: {name} does not exist'
    for name in re.findall(r'"([\w/.-]+\.(?:bib|scss|svg|png|csl|css|html|lua))"', json.dumps(read['_quarto.yml'])):
        yield f'_quarto.yml: {name} is a path, and this file lies in two folders: put it into nbs/site.yml'
    for file in read['_quarto.yml'].get('metadata-files', []):
        if file != 'nbdev.yml' and not (NBS / file).exists(): yield f'_quarto.yml: metadata file {file} does not exist'


def check_front_page():
    "The groups and chapters of the front page are those of the sidebar, in its order."
    sidebar = yaml.safe_load((NBS / 'sidebar.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
    wanted = [(part['section'], name) for part in sidebar if isinstance(part, dict) for name in part['contents'] if isinstance(name, str) and name.endswith('.ipynb')]
    found, group = [], ''
    for line in '\n'.join(cell['source'] for cell in cells(NBS / 'index.ipynb') if cell['cell_type'] == 'markdown').split('\n'):
        if m := re.fullmatch(r'\*\*(\d.*)\*\*', line): group = m[1]
        if m := re.match(r'\| \[[^\]]+\]\(([\w-]+\.ipynb)\) \|', line): found.append((group, m[1]))
    for group, name in wanted:
        if (group, name) not in found: yield f'index.ipynb: {name} is not listed under **{group}**, as it is in the sidebar'
    for group, name in found:
        if (group, name) not in wanted: yield f'index.ipynb: {name} is not under {group!r} in the sidebar'
    if not set(wanted) ^ set(found) and wanted != found: yield 'index.ipynb: chapters stand in another order than in the sidebar'


def faults() -> list[str]:
    "Every fault, in reading order."
    notebooks = sorted(p for p in NBS.glob('*.ipynb') if not p.name.startswith(('_', '.')))
    others = sorted(NBS.glob('*.qmd'))
    everything, keys = notebooks + others, set(bibliography())
    found = list(check_yaml(everything)) + list(check_front_page()) + list(check_bibliography(everything))
    found += [f'{path.name}: label {name} is used {n} times' for path in everything for name, n in Counter(labels_of(path)).items() if n > 1]
    for path in everything: found += [*check_references(path, keys), *check_markup(path), *check_links(path)]
    for nb in notebooks: found += [*check_title(nb), *check_directives(nb), *check_imports(nb), *check_figures(nb)]
    for page in others: found.extend(check_front(page))
    if not PROC.exists(): return found + ["_proc/ is missing: python -c 'from nbdev.serve import proc_nbs; proc_nbs(n_workers=0)'"]
    try: pages.complete(PROC)
    except (ValueError, RuntimeError, ImportError) as error: return found + [f'pages.py: {error}']
    for path in everything: found.extend(check_processed(path))
    for page in sorted(PROC.glob('*.ipynb')) + sorted((PROC / 'api').glob('*.qmd')): found += [f'processed {fault}' for fault in (*check_references(page, keys), *check_markup(page))]
    for page in sorted((PROC / 'api').glob('*.qmd')): found += [*check_front(page), *check_links(page)]
    return found


if __name__ == '__main__':
    problems = faults()
    print('\n'.join(problems) or 'docs: no fault found')
    sys.exit(bool(problems))
