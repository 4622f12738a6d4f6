// Starts the page of the API: each action once, at its route where it has one, and logged in by whoever tries to log in.
(async () => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", paint);
  paint();

  const spec = await (await fetch("/openapi.json")).json();
  for (const item of Object.values(spec.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      if (operation["x-stylobate-route"] || operation["x-stylobate-entry"]) delete item[method];
    }
  }
  for (const [path, item] of Object.entries(spec.paths)) {
    if (Object.keys(item).length === 0) delete spec.paths[path];
  }

  const session = /\/v1\/auth\/(login|refresh)$/;
  const ui = SwaggerUIBundle({
    spec,
    dom_id: "#swagger-ui",
    deepLinking: true,
    persistAuthorization: true,
    defaultModelsExpandDepth: 0,
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    responseInterceptor: (response) => {
      if (session.test(response.url) && response.status === 200) {
        const schema = spec.components.securitySchemes.bearer;
        ui.authActions.authorizeWithPersistOption({ bearer: { name: "bearer", schema, value: JSON.parse(response.text).access_token } });
      }
      return response;
    },
  });
})();
