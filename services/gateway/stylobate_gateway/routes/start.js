// Starts the page of the API: each action once, at its route where it has one; refusals in a line each, since all are problems
// of one form; and logged in by whoever tries to log in.
(async () => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", paint);
  paint();

  const anyText = "^[^\\u0000]*$";  // examples made from it are no words
  const answer = await fetch("/openapi.json");
  const spec = JSON.parse(await answer.text(), (key, value) => (key === "pattern" && value === anyText ? undefined : value));
  for (const item of Object.values(spec.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      if (operation["x-stylobate-route"] || operation["x-stylobate-entry"]) delete item[method];
      for (const [status, response] of Object.entries(operation.responses)) {
        delete response.headers;
        if (status >= "400") delete response.content;
      }
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
    defaultModelsExpandDepth: -1,
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
