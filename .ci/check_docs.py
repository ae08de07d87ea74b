"""Checks the notebooks and the processed docs (`_proc/`) for what makes Quarto fail or a page look broken.

Each function yields one line per fault; the program prints them and exits with 1 if there is any.
"""
import ast
import json
import re
import sys
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
NBS, PROC = ROOT / 'nbs', ROOT / '_proc'
WORDS = {'export', 'exporti', 'exports', 'hide', 'default_exp', 'slow', 'cuda', 'hide_input', 'hide_output', 'exercise', 'check'}
DIRECTIVE = re.compile(r'^#\|\s*(?P<name>[\w-]+)(?P<colon>:?)\s*(?P<value>.*)$')
LINK = re.compile(r'(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)(?:\s+"[^"]*")?\)')
CROSSREF = re.compile(r'(?<![\w`/.])@(?P<label>(?:fig|tbl|eq|sec)-[\w-]*\w)')


def cells(path: Path) -> list[dict]:
    "The cells of one notebook, each with its source as one string."
    found = json.loads(path.read_text(encoding='utf-8'))['cells']
    return [{**cell, 'source': ''.join(cell['source'])} for cell in found]


def prose(cell: dict) -> str:
    "A Markdown cell's text without code, so that brackets in code are not taken for links."
    text = re.sub(r'```.*?```|~~~.*?~~~', '', cell['source'], flags=re.S)
    return re.sub(r'`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$', '', text, flags=re.S)


def directives(cell: dict) -> list[re.Match]:
    "The `#|` lines of a code cell."
    return [m for line in cell['source'].split('\n') if (m := DIRECTIVE.match(line))]


def slug(heading: str) -> str:
    "The anchor that Pandoc gives a heading."
    text = re.sub(r'[`*_]|\{.*?\}', '', heading).strip().lower()
    text = re.sub(r'[^\w\s.-]', '', text)
    return re.sub(r'^[^a-z]+', '', re.sub(r'\s+', '-', text))


def anchors(path: Path) -> set[str]:
    "Every anchor a notebook offers: headings, explicit ids and figure labels."
    found = set()
    for cell in cells(path):
        if cell['cell_type'] == 'markdown':
            for m in re.finditer(r'^#{1,6}\s+(.+?)\s*$', cell['source'], flags=re.M): found.add(slug(m[1]))
            found.update(re.findall(r'\{#([\w-]+)', cell['source']))
        else:
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


def check_figures(path: Path):
    "Figures without caption or alternative text, and errors kept as outputs."
    for i, cell in enumerate(cells(path)):
        if cell['cell_type'] != 'code': continue
        names = {m['name'] for m in directives(cell)}
        outputs = cell.get('outputs', [])
        if any('image/png' in o.get('data', {}) for o in outputs):
            for wanted in ('fig-cap', 'fig-alt'):
                if wanted not in names and 'hide' not in names: yield f'{path.name} cell {i}: a figure without #| {wanted}'
        if any(o['output_type'] == 'error' for o in outputs): yield f'{path.name} cell {i}: an error is kept as its output'
        if any(o.get('name') == 'stderr' for o in outputs): yield f'{path.name} cell {i}: stderr is kept in its output'


def check_links(path: Path, labels: Counter):
    "Links, images and cross-references that lead nowhere."
    for i, cell in enumerate(cells(path)):
        if cell['cell_type'] != 'markdown': continue
        text, where = prose(cell), f'{path.name} cell {i}'
        for m in CROSSREF.finditer(text):
            if m['label'] not in labels: yield f"{where}: cross-reference @{m['label']} is defined nowhere"
        for m in LINK.finditer(text):
            target = m['target']
            if re.match(r'(https?|mailto|attachment):', target): continue
            file, _, anchor = target.partition('#')
            goal = path if not file else (path.parent / file)
            if not goal.exists(): yield f'{where}: {target} does not exist'
            elif anchor and goal.suffix == '.ipynb' and anchor not in anchors(goal): yield f'{where}: no anchor #{anchor} in {goal.name}'


def check_processed(path: Path):
    "nbdev directives, or ours, that survived into the page Quarto reads."
    page = PROC / path.name
    if not page.exists():
        yield f'{path.name}: was not processed'
        return
    for i, cell in enumerate(cells(page)):
        if cell['cell_type'] != 'code': continue
        for m in directives(cell):
            if not m['colon']: yield f"{path.name} (processed) cell {i}: directive #| {m['name']} was left"


def check_yaml(notebooks: list[Path]):
    "The configuration files parse, and the sidebar lists exactly the notebooks there are."
    listed = set()
    for file in (ROOT / '_quarto.yml', NBS / '_quarto.yml', NBS / 'sidebar.yml', *sorted((ROOT / '.github').rglob('*.yml'))):
        try: content = yaml.safe_load(file.read_text(encoding='utf-8'))
        except (OSError, yaml.YAMLError) as e: yield f'{file.relative_to(ROOT)}: {e}'; continue
        if file.name == 'sidebar.yml': listed = set(re.findall(r'[\w-]+\.ipynb', json.dumps(content)))
    names = {nb.name for nb in notebooks}
    for missing in sorted(names - listed): yield f'sidebar.yml: {missing} is not listed'
    for gone in sorted(listed - names): yield f'sidebar.yml: {gone} does not exist'


def faults() -> list[str]:
    "Every fault, in reading order."
    notebooks = sorted(p for p in NBS.glob('*.ipynb') if not p.name.startswith(('_', '.')))
    labels = Counter(m['value'].strip() for nb in notebooks for cell in cells(nb) if cell['cell_type'] == 'code'
                     for m in directives(cell) if m['name'] == 'label')
    labels.update(re.findall(r'\{#((?:fig|tbl|eq|sec)-[\w-]+)', ''.join(nb.read_text(encoding='utf-8') for nb in notebooks)))
    found = list(check_yaml(notebooks)) + [f'label {name} is used {n} times' for name, n in labels.items() if n > 1]
    for nb in notebooks:
        for check in (check_directives(nb), check_imports(nb), check_figures(nb), check_links(nb, labels), check_processed(nb)): found.extend(check)
    return found


if __name__ == '__main__':
    problems = faults()
    print('\n'.join(problems) or 'docs: no fault found')
    sys.exit(bool(problems))
