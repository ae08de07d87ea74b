"""README.md from nbs/index.ipynb, by nbconvert: `python .ci/readme.py` writes it, `--check` fails when the two differ.

nbdev's own `nbdev_readme` needs Quarto. This one runs wherever Jupyter does, and CI holds the two in step with it.
"""
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
INDEX, README = ROOT / 'nbs' / 'index.ipynb', ROOT / 'README.md'
NOTE = '<!-- Made from nbs/index.ipynb by .ci/readme.py: edit the notebook, not this file. -->\n\n'


def without_directives(notebook):
    "The notebook without hidden cells, and without the directive lines of the others."
    shown = []
    for cell in notebook.cells:
        lines = cell.source.split('\n')
        if any(re.fullmatch(r'#\|\s*hide\s*', line) for line in lines): continue
        cell.source = '\n'.join(line for line in lines if not line.startswith('#|'))
        shown.append(cell)
    notebook.cells = shown
    return notebook


def from_root(text: str) -> str:
    "The Markdown with links that were relative to nbs/ made relative to the top of the repository."
    return re.sub(r'(\]\()(?!https?:|#|mailto:)(?:\./)?([^)\s]+\))', r'\1nbs/\2', text)


def readme() -> str:
    "README.md as the notebook says it should be."
    notebook = without_directives(nbformat.read(INDEX, as_version=4))
    notebook.metadata.setdefault('language_info', {'name': 'python'})  # or code blocks have no language
    body, _ = MarkdownExporter().from_notebook_node(notebook)
    return NOTE + re.sub(r'\n{3,}', '\n\n', from_root(body)).strip() + '\n'


def main() -> int:
    "Write the file, or compare."
    if '--check' not in sys.argv:
        README.write_text(readme(), encoding='utf-8')
        return 0
    if README.exists() and README.read_text(encoding='utf-8') == readme(): return 0
    print('README.md differs from nbs/index.ipynb. Run `python .ci/readme.py` and commit both.', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
