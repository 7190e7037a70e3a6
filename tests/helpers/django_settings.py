"""The Django project of `package/test_djangocache.py`: no application, no database, two views."""

from __future__ import annotations

import itertools
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import cache_page

SECRET_KEY = "only for tests"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
TEMPLATES: list[dict[str, Any]] = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]

_visits = itertools.count(1)


def visit(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"visit {next(_visits)}")


urlpatterns = [path("cached", cache_page(60)(visit)), path("plain", visit)]


def key_function(key: str, key_prefix: str, version: int) -> str:
    return f"CUSTOM-{key_prefix}-{version}-{key}"
