"""Packaging, read from settings.ini so that every setting has one home."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

config = ConfigParser(delimiters=['='])
config.read(Path(__file__).with_name('settings.ini'), encoding='utf-8')
cfg = config['DEFAULT']

LICENSES = {'apache2': 'Apache-2.0'}
STATUSES = ['1 - Planning', '2 - Pre-Alpha', '3 - Alpha', '4 - Beta', '5 - Production/Stable', '6 - Mature', '7 - Inactive']
PYTHONS = ['3.11', '3.12', '3.13']


def words(key: str) -> list[str]:
    "The whitespace-separated values of one setting."
    return cfg.get(key, '').split()


setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    license=LICENSES[cfg['license']],
    description=cfg['description'],
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    url=cfg['git_url'],
    author=cfg['author'],
    author_email=cfg['author_email'],
    keywords=cfg['keywords'],
    packages=find_packages(include=['lgm_nbdev', 'lgm_nbdev.*']),
    package_data={'lgm_nbdev': ['assets/data/*', 'assets/classifiers/*']},
    python_requires='>=' + cfg['min_python'],
    install_requires=words('requirements'),
    extras_require={'dev': words('dev_requirements')},
    entry_points={
        'console_scripts': words('console_scripts'),
        'nbdev': [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
    },
    classifiers=[
        'Development Status :: ' + STATUSES[int(cfg['status']) - 1],
        'Intended Audience :: ' + cfg['audience'],
        'Natural Language :: ' + cfg['language'],
        'License :: OSI Approved :: Apache Software License',
        *[f'Programming Language :: Python :: {v}' for v in PYTHONS if v >= cfg['min_python']],
    ],
    zip_safe=False,
)
