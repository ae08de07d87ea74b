"""Makes in `_proc/` all that the site is rendered from, so that `nbdev_docs` has nothing left to do but render.

nbdev puts processed chapters there, and every file that lies directly in `nbs/`. What it does not do is done here:

- folders of pictures (nbdev does not descend while `recursive = False`),
- an API page for each module, generated from the library, so that none can fall behind it: `api/MODULE.qmd`,
- under each chapter's table of contents the links "Open in Colab" and "Download notebook", built from settings.ini.

    python .ci/pages.py && nbdev_docs && python .ci/pages.py --notebooks _docs/notebooks
"""
import argparse
import ast
import configparser
import inspect
import json
import os
import re
import shutil
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the library beside this file, wherever another one is installed
NBS, PROC, LIB = ROOT / 'nbs', ROOT / '_proc', ROOT / 'lgm_nbdev'
FRONT = re.compile(r'\A---\s*\n(.*?)\n---\s*\Z', flags=re.S)


def settings() -> dict:
    "What settings.ini says, with its own references resolved."
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'settings.ini', encoding='utf-8')
    return dict(parser['DEFAULT'])


def modules() -> list[str]:
    "The public modules in the order in which the sidebar has their chapters."
    exported = {m[1]: nb.name for nb in NBS.glob('*.ipynb') if (m := re.search(r'#\|\s*default_exp\s+(\w+)', nb.read_text(encoding='utf-8')))
                and (LIB / f'{m[1]}.py').exists()}
    order = re.findall(r'[\w-]+\.ipynb', (NBS / 'sidebar.yml').read_text(encoding='utf-8'))
    return sorted(exported, key=lambda name: (order.index(exported[name]) if exported[name] in order else len(order), name))


def chapter_of(module: str) -> tuple[str, str]:
    "(file name, title) of the chapter that exports a module."
    first = (LIB / f'{module}.py').read_text(encoding='utf-8')
    name = re.search(r'nbs/(\S+\.ipynb)', first)[1]
    title = ''.join(json.loads((NBS / name).read_text(encoding='utf-8'))['cells'][0]['source']).split('\n')[0]
    return name, title.lstrip('# ').strip()


def code_links(name: str, known: dict) -> list[dict]:
    "Quarto's `code-links` of one chapter."
    repository = f"{known['user']}/{known['repo']}/blob/{known['branch']}/{known['nbs_path']}"
    return [{'text': 'Open in Colab', 'icon': 'play-circle', 'href': f'https://colab.research.google.com/github/{repository}/{name}'},
            {'text': 'Download notebook', 'icon': 'download', 'href': f"{known['doc_host']}{known['doc_baseurl']}/notebooks/{name}"}]


def add_code_links(page: Path, known: dict):
    "Puts a chapter's links into the front matter of its processed notebook, unless they are there. Raises ValueError without front matter."
    notebook = json.loads(page.read_text(encoding='utf-8'))
    first = notebook['cells'][0]
    found = FRONT.match(''.join(first['source']).strip()) if first['cell_type'] == 'raw' else None
    if not found: raise ValueError(f'{page.name} has no front matter: its first cell must be "# Title" and "> subtitle"')
    front = yaml.safe_load(found[1])
    if 'code-links' in front: return
    front['code-links'] = code_links(page.name, known)
    first['source'] = f'---\n{yaml.safe_dump(front, allow_unicode=True, sort_keys=True)}---\n'.splitlines(True)
    page.write_text(json.dumps(notebook, indent=1, ensure_ascii=False), encoding='utf-8')


def methods(cls: type) -> list[str]:
    "Names of what a class itself defines and documents, in the order of its source."
    found = []
    for name, member in vars(cls).items():
        inner = getattr(member, '__func__', member)
        if (not name.startswith('_') or name == '__call__') and (inspect.isfunction(inner) or isinstance(inner, property)) and inner.__doc__: found.append(name)
    return found


def plain(text: str) -> str:
    "A docstring as Markdown that says what it says: outside of `code`, a star is a product and `@` no citation."
    parts = re.split(r'(`[^`\n]+`)', text)
    return ''.join(part if k % 2 else re.sub(r'([\\*_^~|<>@$\[\]#])', r'\\\1', part) for k, part in enumerate(parts))


def first_line(value) -> str:
    "The first sentence of a docstring, for the list at the top of a page."
    return plain(re.split(r'(?<=\.)\s+(?=[A-Z`])|\n\n', inspect.getdoc(value) or '')[0].replace('\n', ' '))


def source_link(value, module, known: dict) -> str:
    "Link to the lines that define something; empty if they cannot be found."
    try: line = inspect.getsourcelines(value)[1]
    except (OSError, TypeError): return ''
    url = f"{known['git_url']}/blob/{known['branch']}/{known['lib_path']}/{module.__name__.split('.')[-1]}.py#L{line}"
    return f'[source]({url}){{style="float:right; font-size:smaller"}}\n\n'


def head_of(node: ast.AST, lines: list[str]) -> str:
    "The lines of a definition from its name to where its body begins: every parameter with the comment beside it."
    start, body = node.lineno - 1, node.body[0]
    if body.lineno - 1 > start: return '\n'.join(lines[start:body.lineno - 1]).rstrip()
    return lines[start][:body.col_offset].rstrip()


def signature(value, name: str, module) -> str:
    "What the source says up to the docstring, as a block of code; of a class its fields and `__init__` too."
    try: source = textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError) as error: raise RuntimeError(f'{module.__name__}.{name} has no source: {error}') from error
    node, lines = ast.parse(source).body[0], source.split('\n')
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)): raise RuntimeError(f'{module.__name__}.{name}: its source is no definition')
    parts = [head_of(node, lines)]
    for item in node.body if isinstance(node, ast.ClassDef) else []:
        if isinstance(item, ast.AnnAssign): parts.append('\n'.join(lines[item.lineno - 1:item.end_lineno]))
        elif isinstance(item, ast.FunctionDef) and item.name == '__init__': parts.append(head_of(item, lines))
    text = '\n'.join(parts)
    return f'```python\n{text}\n```\n\n'


def entry(value, name: str, level: int, module, known: dict) -> str:
    "Heading, source link, signature with the parameters, and docstring of one symbol."
    inner = getattr(value, '__func__', value)
    head = f"{'#' * level} {plain(name)} {{#{name.lower().replace('.', '-')}}}\n\n"
    if isinstance(inner, property): return f'{head}{source_link(inner.fget, module, known)}A property. {plain(inspect.getdoc(inner))}\n'
    return head + source_link(inner, module, known) + signature(inner, name, module) + plain(inspect.getdoc(inner) or '') + '\n'


def constants(module) -> dict[str, str]:
    "What a module exports beside functions and classes: name -> the comment or the type."
    tree = ast.parse(Path(module.__file__).read_text(encoding='utf-8'))
    lines = Path(module.__file__).read_text(encoding='utf-8').split('\n')
    found = {}
    for node in tree.body:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []:
            if isinstance(target, ast.Name) and target.id in module.__all__:
                comment = re.search(r'\s#\s(.*)$', lines[node.end_lineno - 1])
                found[target.id] = plain(comment[1]) if comment else f'`{type(getattr(module, target.id)).__name__}`'
    return found


def api_page(name: str, known: dict) -> str:
    "The text of one module's page."
    module = import_module(f"{known['lib_path']}.{name}")
    symbols = {n: getattr(module, n) for n in module.__all__}
    defined = {n: v for n, v in symbols.items() if inspect.isclass(v) or inspect.isfunction(v)}
    chapter, title = chapter_of(name)
    front = {'title': name, 'description': f"Reference of {known['lib_path']}.{name}: signatures, parameters, source.", 'engine': 'markdown', 'repo-actions': False}
    parts = [f'---\n{yaml.safe_dump(front, sort_keys=False)}---\n', f'Generated from the library. How it works, and why, is told in the chapter [{title}](../{chapter}).\n']
    parts.append('\n'.join(['| name | |', '|---|---|'] + [f"| [`{n}`](#{n.lower()}) | {first_line(v)} |" for n, v in defined.items()]) + '\n')
    if others := constants(module):
        parts.append('\n'.join(['## Constants {#constants}', '', '| name | |', '|---|---|'] + [f"| `{n}` | {text} |" for n, text in others.items()]) + '\n')
    for n, value in defined.items():
        parts.append(entry(value, n, 2, module, known))
        if inspect.isclass(value): parts += [entry(vars(value)[m], f'{n}.{m}', 3, module, known) for m in methods(value)]
    return '\n'.join(parts)


def write_api(folder: Path, known: dict) -> list[Path]:
    "One page per module; what else lies in the folder is removed."
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in modules(): (folder / f'{name}.qmd').write_text(api_page(name, known), encoding='utf-8')
    return sorted(folder.glob('*.qmd'))


def copy_folders(source: Path, target: Path):
    "Folders of pictures that chapters show."
    for folder in source.iterdir():
        if folder.is_dir() and not folder.name.startswith(('_', '.')) and any(folder.glob('*.png')) and folder.name != 'runs':
            shutil.copytree(folder, target / folder.name, dirs_exist_ok=True)


def complete(proc: Path = PROC):
    "All of this for a folder that nbdev has filled. Its time stays: nbdev takes chapters that are older than the folder for processed."
    known, times = settings(), proc.stat()
    copy_folders(NBS, proc)
    for page in sorted(proc.glob('*.ipynb')):
        if page.name != known['readme_nb']: add_code_links(page, known)
    write_api(proc / 'api', known)
    os.utime(proc, ns=(times.st_atime_ns, times.st_mtime_ns))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--notebooks', type=Path, metavar='FOLDER', help='only copy the notebooks there, for the download links')
    if (folder := parser.parse_args().notebooks) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for notebook in NBS.glob('*.ipynb'): shutil.copy2(notebook, folder)
    else:
        from nbdev.serve import proc_nbs

        proc_nbs(n_workers=0)
        complete()
